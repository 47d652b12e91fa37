// stage.mjs: Redis, daemons and a browser for the page's test, and data such as a day of work leaves behind: prompts of tests/data. All of
// it lives in the network and process namespaces that tests/page.sh has made, so the ports are free and nothing survives the test.
import {spawn} from 'node:child_process';
import {readFileSync, openSync} from 'node:fs';
import {setTimeout as sleep} from 'node:timers/promises';

export const dir = process.env.DIR, build = process.env.BUILD;

export function check(fact, what) {
  if (!fact) throw new Error(what);
}
export async function until(what, look, ms = 15000) {
  for (const end = Date.now() + ms; ;) {
    const found = await Promise.resolve().then(look).catch(() => null);
    if (found) return found;
    check(Date.now() < end, `waited in vain until ${what}`);
    await sleep(50);
  }
}

function start(name, program, args, env = {}) {
  const log = openSync(`${dir}/${name}.log`, 'a');
  return spawn(program, args, {env: {PATH: process.env.PATH, ...env}, stdio: ['ignore', log, log]});
}
export async function end(child, signal = 'SIGTERM') {
  const ended = new Promise(done => child.once('exit', done));
  child.kill(signal);
  await ended;
}

export async function startRedis(port) {
  const child = start(`redis-${port}`, 'redis-server', ['--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes',
    '--appendfilename', `${port}.aof`, '--maxmemory', '64mb', '--maxmemory-policy', 'noeviction']);
  await until('Redis answers', () => new Promise(done => {
    const ping = spawn('redis-cli', ['-e', '-p', port, 'ping'], {stdio: 'ignore'});
    ping.on('exit', code => done(code === 0));
  }));
  return child;
}

export async function startDaemon(api, env = {}) {
  const admin = api + 1;
  const child = start(`daemon-${api}`, `${build}/phoenix-cached`, [], {PHOENIX_HTTP_LISTEN: `127.0.0.1:${api}`, PHOENIX_ADMIN_LISTEN: `0.0.0.0:${admin}`,
    PHOENIX_SPOOL_PATH: `${dir}/spool-${api}.db`, PHOENIX_TASKS_RETRY_BASE_MS: '1', PHOENIX_TASKS_RETRY_MAX_MS: '1', PHOENIX_HEALTH_OPEN_BASE_MS: '60000', ...env});
  await until('the daemon is ready', async () => (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok);
  return {child, api: `http://127.0.0.1:${api}`, page: `http://127.0.0.1:${admin}/`, admin};
}

export function caller(base, token) {
  return async (method, path, body, expected) => {
    const headers = {'Content-Type': 'application/json', ...(token ? {Authorization: `Bearer ${token}`} : {})};
    const answer = await fetch(base + path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
    const text = await answer.text();
    check(expected === undefined ? answer.ok : answer.status === expected, `${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
    return text ? JSON.parse(text) : null;
  };
}

// The rows of a CSV file with quoted fields.
export function readCsv(path) {
  const rows = [[]];
  for (const [, quoted, plain, end] of readFileSync(path, 'utf8').matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows[rows.length - 1].push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end !== ',') rows.push([]);
  }
  return rows.filter(row => row.length > 1).slice(1);
}
export const prompts = readCsv('tests/data/prompts.csv').map(([act, prompt]) => ({act, prompt}));

const REASONS = ['provider answered 529: overloaded', 'the model returned no JSON: "Sure! Here is the review you asked for:"', 'context length exceeded: 214332 tokens > 200000', 'tool call write_file refused by policy'];

// Dead tasks by name: nacked on their one attempt. No others may be ready for this agent.
export async function kill(ask, names, agent = 'reviewer') {
  for (const [i, name] of names.entries()) {
    const {act, prompt} = prompts[i % prompts.length];
    await ask('POST', '/tasks', {task_id: name, correlation_id: `plan-2026-11-23-${i}`, agent, priority: i % 3 * 5, max_attempts: 1,
      payload: {model: 'sonnet', act, prompt}});
    const {tasks: [task]} = await ask('POST', '/tasks/dequeue', {agent});
    await ask('POST', `/tasks/${task.task_id}/nack`, {receipt: task.receipt, reason: REASONS[i % REASONS.length]});
  }
}

export async function work(ask) {
  for (const [i, {prompt}] of prompts.slice(0, 60).entries()) {
    await ask('POST', '/cache', {input: prompt, response: {role: 'assistant', content: `Answer ${i}`}, metadata: {model: 'sonnet', tokens: 400 + i, provider: 'anthropic'}});
    for (let n = 0; n <= i % 4; n++) await ask('POST', '/cache/lookup', {input: prompt});
    if (i % 6 === 0) await ask('POST', '/cache/lookup', {input: `${prompt} Once more.`}, 404);
  }
  for (const [i, {act, prompt}] of prompts.slice(0, 9).entries())
    await ask('POST', '/tasks', {agent: i % 2 ? 'writer' : 'planner', payload: {act, prompt}, ...(i % 4 === 3 ? {delay: 600} : {})});
  await ask('POST', '/tasks/dequeue', {agent: 'planner', lease: 300});
  for (const [agent, reports, health] of [['planner', ['success', 'success'], 'Healthy'], ['writer', ['success', 'failure'], 'Degraded'],
    ['reviewer', Array(5).fill('failure'), 'Unhealthy'], ['code-executor@pool-eu-west-1', ['success'], 'Healthy']]) {
    await ask('PUT', `/health/${agent}`, {health});
    for (const report of reports) await ask('POST', `/health/${agent}/${report}`, {});
  }
  for (let i = 0; i < 5; i++) await ask('POST', '/session', {plan_id: `plan-${i}`, data: {step: i}});
}
