// Messages between the processes of a Node cluster: `node node_messages.js SERIALIZATION SHAPE BYTES WARM_UP
// WINDOW`, times in milliseconds. Says `measuring` when counting begins, then one line of JSON, and ends when
// its standard input does. Counts as `src/work/window.rs` does.
'use strict';
const cluster = require('node:cluster');
const fs = require('node:fs');

const [serialization, shape, ...numbers] = process.argv.slice(2);
const [bytes, warmUp, length] = numbers.map(Number);
const LISTENERS = 8;
// Small messages are counted many at a time, as in the other programs.
const stride = bytes < 4096 ? 64 : 1;
// So many are sent before the sender waits until they are written.
const burst = Math.max(1, Math.min(64, Math.floor((256 << 10) / bytes)));

const say = (line) => fs.writeSync(1, `${line}\n`);
// One for all: `send` has encoded it when it returns.
const message = { text: 'x'.repeat(bytes) };

function check(heard) {
  if (heard.text.length !== bytes) throw new Error(`a message of ${heard.text.length} bytes arrived`);
}

// Begins and ends with an arrival. `begun()`, then `over(perSecond)`.
function makeWindow(begun, over) {
  let first, since, counted = 0;
  return (messages) => {
    const now = performance.now();
    if (first === undefined) first = now;
    else if (since === undefined) {
      if (now - first < warmUp) return;
      since = now;
      begun();
    } else {
      counted += messages;
      if (now - since < length) return;
      over((counted * 1000) / (now - since));
    }
  };
}

// Calls `arrived(n)` for each n messages, until `over`.
function count(begun, over) {
  let since = 0, done = false;
  const arrived = makeWindow(begun, (rate) => { done = true; over(rate); });
  return (heard) => {
    check(heard);
    since += 1;
    if (done || since < stride) return;
    arrived(since);
    since = 0;
  };
}

// Sends without end; the last of each burst tells when it is written.
function flood(to) {
  let waiting = 0;
  const written = (err) => {
    if (err) process.exit();
    waiting -= 1;
    if (waiting === 0) setImmediate(go);
  };
  const go = () => {
    waiting = to.length;
    for (let sent = 1; sent < burst; sent += 1) for (const peer of to) peer.send(message);
    for (const peer of to) peer.send(message, written);
  };
  go();
}

const result = (perSecond) => say(JSON.stringify({ per_second: perSecond }));

const primaries = {
  'one-way': ([worker]) => worker.on('message', count(() => say('measuring'), result)),
  'round-trip': ([worker]) => worker.on('message', (heard) => worker.send(heard)),
  broadcast(workers) {
    let ready = 0, begun = 0, over = 0, total = 0;
    const hear = (told) => {
      if (told.ready && (ready += 1) === LISTENERS) flood(workers);
      if (told.begun && (begun += 1) === 1) say('measuring');
      if (told.over === undefined) return;
      total += told.over;
      over += 1;
      if (over === LISTENERS) result(total);
    };
    for (const worker of workers) worker.on('message', hear);
  },
};

const workers = {
  'one-way': () => flood([process]),
  'round-trip'() {
    const took = [];
    let rate, counting = false, since = performance.now();
    const arrived = makeWindow(
      () => { counting = true; say('measuring'); },
      (perSecond) => { rate = perSecond; },
    );
    process.on('message', (heard) => {
      const now = performance.now();
      check(heard);
      if (counting) took.push(now - since);
      arrived(1);
      if (rate === undefined) {
        since = now;
        process.send(heard);
        return;
      }
      took.sort((a, b) => a - b);
      say(JSON.stringify({ per_second: rate, p50_us: took[Math.floor(took.length / 2)] * 1000 }));
    });
    process.send(message);
  },
  broadcast() {
    process.on('message', count(() => process.send({ begun: true }), (rate) => process.send({ over: rate })));
    process.send({ ready: true });
  },
};

if (cluster.isPrimary) {
  cluster.setupPrimary({ serialization });
  const count = shape === 'broadcast' ? LISTENERS : 1;
  primaries[shape](Array.from({ length: count }, () => cluster.fork()));
  // Whoever started us holds the other end: it ends with them, however they end.
  process.stdin.on('end', () => process.exit()).resume();
} else workers[shape]();
