// A cluster of Node, or of Bun: `node node_cluster.js WORKERS`. An HTTP server per worker on one port, and a new
// worker for each that ends. `/block?ms=N` blocks a worker's loop first. Prints `listening on http://ADDR` when all
// serve, and ends when its standard input does.
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');
const net = require('node:net');

const HOST = '127.0.0.1';
const BACKLOG = 4096;
const BLOCK = '/block?ms=';

function primary(workers, port) {
  let serving = 0;
  const fork = () => cluster.fork({ BENCH_PORT: port });
  cluster.on('listening', () => {
    serving += 1;
    if (serving === workers) console.log(`listening on http://${HOST}:${port}`);
  });
  cluster.on('exit', fork);
  for (let count = 0; count < workers; count += 1) fork();
  // Whoever started us holds the other end: it ends with them, however they end.
  process.stdin.on('end', () => process.exit()).resume();
}

// Asked for port 0, Node closes the socket with its last worker and gives the successor another port. So a
// free one is found first, and named.
function freePort(use) {
  const probe = net.createServer().listen(0, HOST, () => {
    const { port } = probe.address();
    probe.close(() => use(port));
  });
}

function worker(listen) {
  const answer = `hello from worker ${cluster.worker.id} (pid ${process.pid})\n`;
  const server = http.createServer((request, response) => {
    if (request.url.startsWith(BLOCK)) block(Number(request.url.slice(BLOCK.length)));
    response.end(answer);
  });
  server.listen(listen);
}

function block(ms) {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

// Calls `worker` in each worker, with where to listen.
exports.inCluster = (worker) => {
  if (cluster.isPrimary) freePort((port) => primary(Number(process.argv[2] ?? 1), port));
  else worker({ port: Number(process.env.BENCH_PORT), host: HOST, backlog: BACKLOG });
};

if (require.main === module) exports.inCluster(worker);
