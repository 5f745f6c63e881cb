// For PM2's cluster mode: answers as the others do, and stops as PM2's documentation says ("Graceful Shutdown").
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  response.end(`hello from worker ${process.env.NODE_APP_INSTANCE} (pid ${process.pid})\n`);
});
// As long as a client likes.
server.keepAliveTimeout = 0;
server.listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 });

process.on('SIGINT', () => {
  server.close(() => process.exit(0));
});
