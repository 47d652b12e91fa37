// load: tasks through BullMQ, in one process: 64 clients as concurrent loops. bench/queue.sh reads this process's CPU
// time from /proc around each run. It is the library's, client and worker in one: the loops hold nothing but counters, and
// the job's work is empty.
//
// Usage: node load.mjs PORT; each line "WAY TASKS BATCH" on its input is a run, answered by a line. The ways:
//   calls    as phoenix-cached's clients do it: add, getNextJob, moveToCompleted, three round trips for a task
//   chained  moveToCompleted brings the next job in the same script, as a Worker does under load: two
//   worker   queue.add and a Worker of concurrency 64, each client waiting until its own tasks are finished. When the line
//            runs empty, as it does for 64 clients, the Worker's blocking read and its marker come on top
// In batches tasks are added by addBulk; BullMQ takes and finishes them one by one in any way.
//
// All that costs and can be left out is: finished jobs are removed at once (phoenix-cached remembers their ids for a day),
// no look for stalled jobs, no renewal of locks, a short event stream. ioredis's automatic pipelining is off: it
// saved nothing here.
import readline from 'node:readline';
import { Queue, Worker } from 'bullmq';
import Redis from 'ioredis';

const CLIENTS = 64;
const NAME = 'bench';
const payload = 'x'.repeat(98); // 100 bytes as JSON
const job_options = { removeOnComplete: true, removeOnFail: true };
const worker_options = { skipStalledCheck: true, skipLockRenewal: true };

const connect = () => new Redis({ host: '127.0.0.1', port: Number(process.argv[2]), maxRetriesPerRequest: null });
const connection = connect();
const queue = new Queue(NAME, { connection, defaultJobOptions: job_options, streams: { events: { maxLen: 100 } } });
const taker = new Worker(NAME, null, { connection, ...worker_options });
await Promise.all([queue.waitUntilReady(), taker.waitUntilReady()]);

async function add(batch) {
  if (batch === 1) return [await queue.add('task', payload)];
  return queue.addBulk(Array.from({ length: batch }, () => ({ name: 'task', data: payload, opts: job_options })));
}

const take = (token) => taker.getNextJob(token, { block: false });

// As many clients at once; each does `once` until so many tasks have been begun.
function clients(tasks, batch, once) {
  let left = tasks;
  return Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
    while (left > 0) {
      left -= batch;
      await once(`client-${i}`);
    }
  }));
}

async function calls(tasks, batch) {
  let done = 0;
  await clients(tasks, batch, async (token) => {
    await add(batch);
    for (let i = 0; i < batch; i++) {
      const job = await take(token);
      await job.moveToCompleted(null, token, false);
      done++;
    }
  });
  return done;
}

async function chained(tasks, batch) {
  const held = new Map(); // by client
  let done = 0;
  const finish = async (job, token, more) => {
    const next = await job.moveToCompleted(null, token, more);
    done++;
    if (!more || !next?.[0]) return null;
    return next[0].moveToCompleted ? next[0] : taker.createJob(next[0], next[1]);
  };
  await clients(tasks, batch, async (token) => {
    await add(batch);
    let job = held.get(token) ?? (await take(token));
    for (let i = 0; i < batch && job; i++) job = await finish(job, token, true);
    held.set(token, job);
  });
  for (const [token, job] of held) if (job) await finish(job, token, false);
  for (let job = await take('last'); job; job = await take('last')) await finish(job, 'last', false);
  return done;
}

async function worker(tasks, batch) {
  const own = connect();
  const settled = new Map(); // id -> who waits for it; null: finished before anyone did
  let done = 0;
  const finished = (id) => {
    if (settled.delete(id)) return undefined;
    return new Promise((resolve) => settled.set(id, resolve));
  };
  const consumer = new Worker(NAME, async () => {}, { connection: own, concurrency: CLIENTS, ...worker_options });
  consumer.on('completed', (job) => {
    const resolve = settled.get(job.id);
    done++;
    if (resolve) {
      settled.delete(job.id);
      resolve();
    } else settled.set(job.id, null);
  });
  await consumer.waitUntilReady();
  await clients(tasks, batch, async () => {
    const jobs = await add(batch);
    await Promise.all(jobs.map((job) => finished(job.id)));
  });
  await consumer.close();
  own.disconnect();
  return done;
}

const ways = { calls, chained, worker };
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [way, tasks, batch] = line.split(' ');
  const done = await ways[way](Number(tasks), Number(batch));
  console.log(done === Number(tasks) ? 'done' : `${done} of ${tasks} done`);
}
process.exit(0);
