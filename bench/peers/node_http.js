// The application of the suite `http` in a cluster of Node, or of Bun: `node node_http.js WORKERS CATALOGUE`, the
// catalogue as JSON. The same routes and answers as `src/work/site.rs`.
'use strict';
const http = require('node:http');
const { inCluster } = require('./node_cluster.js');

const catalogue = JSON.parse(process.argv[3]);

inCluster((listen) => {
  const server = http.createServer((request, response) => {
    if (request.url === '/hello') answer(response, 'text/plain; charset=utf-8', 'Hello, World!');
    else if (request.url === '/catalogue') answer(response, 'application/json', JSON.stringify(catalogue));
    else response.writeHead(404).end();
  });
  server.listen(listen);
});

function answer(response, type, text) {
  response.setHeader('content-type', type);
  response.end(text);
}
