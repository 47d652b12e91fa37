// scenarios: the states that a daemon can be in, and in each what shows the statuses that belong to it.
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { Caller, firstSentence, freshPrompt, keyOf, plain, plainOf, prompts } from './caller.mjs';
import { Daemon, Proxy, Redis, until } from './world.mjs';

const DOUBT = { PHOENIX_BREAKER_CONSECUTIVE_FAILURES: '1000', PHOENIX_BREAKER_MIN_CALLS: '100000' }; // the circuit stays closed

// --- what is refused before anybody looks at what was asked ---

async function guarded(world, contract) {
    const token = 'a-token-of-some-length';
    const file = `${world.directory('token')}/token`;
    fs.writeFileSync(file, token);
    const daemon = await Daemon.start(world, { PHOENIX_HTTP_TOKEN_FILE: file, PHOENIX_HTTP_BODY_MAX: '1024' });
    const caller = new Caller(contract, daemon, token);
    const documented = (id, status) => contract.operations.get(id).responses[status];
    await caller.each((id) => ({ headers: documented(id, 401) && { ...plainOf(id).headers, Authorization: 'Basic cGxhbm5lcjo=' } }));
    // Probes come to the admin listener by the pod's address: what needs no token there is shown under any Host.
    await caller.each((id) => (contract.operations.get(id).adminOnly ? null : { headers: { Host: 'attacker.example' } }), 403);
    await caller.each(() => ({ headers: { Origin: 'https://attacker.example' } }), 403);
    await caller.each(() => ({ headers: { 'X-Request-Id': 'with a blank' } }), 400);
    await caller.each(() => ({ json: undefined, text: 'x'.repeat(2000) }), 413);
    await caller.each(() => ({ query: `input=${'x'.repeat(5000)}` }), 414);
    await caller.each(() => ({ headers: Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`X-Many-${i}`, '1'])) }), 431);
    await caller.each((id, one) => ({ headers: { ...one.headers, 'X-Request-Id': 'run-17', traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' } }));
    await daemon.stop();
}

// A connection over the bound gets one fixed answer, whatever it was going to ask.
async function full(world, contract) {
    const daemon = await Daemon.start(world, { PHOENIX_HTTP_CONNECTIONS_MAX: '1' });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    await until('the one connection', async () => (await daemon.send('GET', '/livez', { agent })).status === 200);
    const answer = await daemon.listen();
    for (const [id, operation] of contract.operations) {
        const body = operation.method === 'HEAD' ? '' : answer.body;
        contract.judge(id, { ...answer, body }, 'a connection over http.connections_max');
    }
    agent.destroy();
    await daemon.stop();
}

// --- all is well ---

async function cache(caller, redis) {
    const [act, prompt] = prompts[0];
    const response = { text: "Hello, thank you for coming in today. Let's begin. Could you tell me about yourself?" };
    const metadata = { model: 'gpt-4o', tokens: 21, provider: 'openai' };
    const stored = await caller.ask('storeByInput', { json: { input: prompt, response, metadata } }, 201);
    await caller.ask('storeByInput', { json: { input: prompt, response, metadata, ttl: 600 } }, 200);
    await caller.ask('storeByInput', { json: { input: prompt, response, scope: { model: 'gpt-4o', temperature: 0.2 } } }, 201);
    await caller.ask('storeByInput', { json: { input: prompt, response }, headers: { 'If-None-Match': '*' } }, 412);
    const input = freshPrompt();
    await caller.ask('storeByInput', { json: { input, response: `I am your ${act}.` } }, 201);
    const query = `input=${encodeURIComponent(input)}`;
    for (const [id, request] of [['lookupByQuery', { query }], ['getByKey', { id: stored.json.key }]]) {
        await caller.look(id, request, 200);
        await caller.look(id, { ...request, headers: { 'If-None-Match': '*' } }, 304);
        await caller.look(id, { ...request, headers: { 'Cache-Control': 'no-cache' } }, 200);
        const absent = id === 'getByKey' ? { id: keyOf(freshPrompt()) } : { query: `input=${encodeURIComponent(freshPrompt())}` };
        await caller.look(id, absent, 404);
        await caller.look(id, { ...absent, headers: { 'Cache-Control': 'only-if-cached' } }, 504);
    }
    await caller.ask('lookup', { json: { input: prompt } }, 200);
    await caller.ask('lookup', { text: prompt, headers: { 'Content-Type': 'text/plain' } }, 200);
    await caller.ask('lookup', { json: { input: freshPrompt() } }, 404);
    await caller.ask('lookup', { json: { input: freshPrompt() }, headers: { 'Cache-Control': 'only-if-cached' } }, 504);
    await caller.ask('storeByKey', { id: 'interviewer', json: { response, metadata } }, 201);
    await caller.ask('storeByKey', { id: 'interviewer', json: { response, metadata } }, 200);
    await caller.ask('storeByKey', { id: 'interviewer', json: { response }, headers: { 'If-None-Match': '*' } }, 412);
    await caller.ask('deleteByKey', { id: 'interviewer' }, 204);
    for (const body of ['{"input": "Act as', '{"input": "Act as an interviewer", "response": 1, "ttl": 0}']) {
        await caller.ask('storeByInput', { text: body }, 400);
        await caller.ask('lookup', { text: '{"input"' }, 400);
    }
    await caller.look('getByKey', { id: 'interviewer', query: 'fresh=yes' }, 400);
    await caller.ask('storeByInput', { json: { input: 4711, response } }, 422);
    await caller.ask('storeByInput', { json: { input: prompt, response, model: 'gpt-4o' } }, 422);
    await caller.ask('storeByKey', { id: 'interviewer', json: {} }, 422);
    await caller.ask('lookup', { json: {} }, 422);
    if (!redis) return;
    redis.call('SET', 'phoenix:cache:older', JSON.stringify({ response, timestamp: '2026-01-01T00:00:00.000Z', ttl: 3600, metadata }));
    await caller.look('getByKey', { id: 'older', headers: { 'Cache-Control': 'max-age=60' } }, 404);
    const foreign = freshPrompt();
    for (const key of [keyOf(foreign), 'foreign']) redis.call('RPUSH', `phoenix:cache:${key}`, 'not a response');
    await caller.look('lookupByQuery', { query: `input=${encodeURIComponent(foreign)}` }, 409);
    await caller.ask('lookup', { json: { input: foreign } }, 409);
    await caller.look('getByKey', { id: 'foreign' }, 409);
    await caller.ask('storeByInput', { json: { input: foreign, response } }, 409);
    await caller.ask('storeByKey', { id: 'foreign', json: { response } }, 409);
}

async function sessions(caller, redis) {
    const data = { act: prompts[0][0], asked: 3 };
    const made = await caller.ask('createSession', { json: { correlation_id: 'order-4711', plan_id: 'interview', data } }, 201);
    await caller.ask('createSession', { json: {} }, 201);
    await caller.ask('createSession', { json: { correlation_id: 'order-4711' } }, 409);
    await caller.ask('createSession', { json: { correlation_id: 'order-4711' }, headers: { 'If-Match': '"0123456789abcdef"' } });
    await caller.ask('createSession', { json: { correlation_id: 'order-4711' }, headers: { 'If-None-Match': '*' } });
    await caller.look('getSession', { id: 'order-4711' }, 200);
    await caller.look('getSession', { id: 'order-4711', query: 'touch=false' }, 200);
    await caller.look('getSession', { id: 'order-4711', headers: { 'If-None-Match': made.headers.etag } }, 304);
    await caller.look('getSession', { id: 'order-4712' }, 404);
    await caller.look('listSessions', { query: 'state=Active&limit=10' }, 200);
    await caller.ask('putSession', { id: 'order-4711', json: { plan_id: 'interview', data } }, 200);
    await caller.ask('putSession', { id: 'order-4713', json: { plan_id: 'interview' } }, 201);
    await caller.ask('putSession', { id: 'order-4713', json: {}, headers: { 'If-None-Match': '*' } }, 412);
    await caller.ask('patchSession', { id: 'order-4711', json: { task_id: 'task-17', ttl: 3600 } }, 200);
    await caller.ask('patchSession', { id: 'order-4711', json: {}, headers: { 'If-Match': '"0123456789abcdef"' } }, 412);
    await caller.ask('patchSession', { id: 'order-4712', json: {} }, 404);
    await caller.ask('patchSession', { id: 'order-4711', json: { state: 'Completed' } }, 200);
    for (const id of ['patchSession', 'putSession']) await caller.ask(id, { id: 'order-4711', json: { state: 'Active' } }, 409);
    for (const id of ['createSession', 'putSession', 'patchSession']) {
        const where = id === 'createSession' ? {} : { id: 'order-4711' };
        await caller.ask(id, { ...where, text: '{"data":' }, 400);
        await caller.ask(id, { ...where, json: { state: 'Paused' } }, 400);
        await caller.ask(id, { ...where, json: { ttl: 'an hour' } }, 422);
    }
    await caller.ask('deleteSession', { id: 'order-4713', headers: { 'If-Match': '"0123456789abcdef"' } }, 412);
    await caller.ask('deleteSession', { id: 'order-4713' }, 204);
    if (!redis) return;
    redis.call('RPUSH', 'phoenix:session:foreign', 'not a session');
    await caller.look('getSession', { id: 'foreign' }, 409);
    await caller.ask('createSession', { json: { correlation_id: 'foreign' } }, 409);
    await caller.ask('putSession', { id: 'foreign', json: {} }, 409);
    await caller.ask('patchSession', { id: 'foreign', json: {} }, 409);
    await caller.ask('deleteSession', { id: 'foreign' }, 409);
}

async function health(caller, redis) {
    await caller.ask('putAgent', { id: 'planner', json: { health: 'Healthy', version: '2.3' } }, 200);
    await caller.ask('reportSuccess', { id: 'planner', json: {} }, 200);
    await caller.ask('askPermit', { id: 'planner' }, 200);
    for (let i = 0; i < 5; i++) await caller.ask('reportFailure', { id: 'planner', json: { reason: 'upstream timed out', reporter: 'orchestrator-1' } }, 200);
    await caller.ask('askPermit', { id: 'planner' }, 200);
    await caller.ask('askPermit', { id: 'unheard-of' }, 200);
    await caller.look('getAgent', { id: 'planner' }, 200);
    await caller.look('getAgent', { id: 'unheard-of' }, 404);
    await caller.look('listAgents', { query: 'limit=10' }, 200);
    await caller.look('listAgents', { query: 'limit=0' }, 400);
    await caller.ask('putAgent', { id: 'planner', json: { health: 'Fine' } }, 400);
    for (const id of ['putAgent', 'reportSuccess', 'reportFailure']) {
        await caller.ask(id, { id: 'planner', text: '{' }, 400);
        await caller.ask(id, { id: 'planner', json: [] }, 422);
    }
    if (redis) {
        redis.call('RPUSH', 'phoenix:health:foreign', 'not a record');
        await caller.look('getAgent', { id: 'foreign' }, 409);
        for (const id of ['putAgent', 'deleteAgent', 'reportSuccess', 'reportFailure', 'askPermit']) await caller.ask(id, { ...plain[id], id: 'foreign' }, 409);
        redis.call('DEL', 'phoenix:health:foreign');
    }
    await caller.ask('deleteAgent', { id: 'planner' }, 204);
}

async function locks(caller, redis) {
    const granted = await caller.ask('acquireLock', { id: 'deploy', json: { ttl: 30, owner: 'orchestrator-1' } }, 201);
    const { token } = granted.json;
    await caller.ask('acquireLock', { id: 'deploy', json: { ttl: 30, owner: 'orchestrator-2' } }, 409);
    await caller.ask('acquireLock', { id: 'deploy', text: '{' }, 400);
    await caller.ask('acquireLock', { id: 'deploy', json: { ttl: 7200 } }, 400);
    await caller.ask('acquireLock', { id: 'deploy', json: { owner: 'orchestrator-1' } }, 422);
    await caller.look('getLock', { id: 'deploy' }, 200);
    await caller.look('getLock', { id: 'release' }, 404);
    await caller.ask('renewLock', { id: 'deploy', json: { ttl: 30, token } }, 200);
    await caller.ask('renewLock', { id: 'deploy', json: { ttl: 30, token: '0'.repeat(32) } }, 409);
    await caller.ask('renewLock', { id: 'deploy', json: { ttl: 30 } }, 422);
    await caller.ask('releaseLock', { id: 'deploy', headers: { 'Phoenix-Lock-Token': '0'.repeat(32) } }, 409);
    await caller.ask('releaseLock', { id: 'deploy' }, 400);
    await caller.ask('releaseLock', { id: 'deploy', headers: { 'Phoenix-Lock-Token': token } }, 204);
    if (!redis) return;
    redis.call('RPUSH', 'phoenix:locks:foreign', 'not a lock');
    await caller.look('getLock', { id: 'foreign' }, 409);
    for (const id of ['acquireLock', 'renewLock', 'releaseLock']) await caller.ask(id, { ...plain[id], id: 'foreign' }, 409);
}

const task = (more = {}) => ({ agent: 'planner', payload: { act: prompts[1][0], prompt: firstSentence(prompts[1][1]) }, ...more });

async function takeOne(caller, lease = 30) {
    const { json } = await caller.ask('dequeueTasks', { json: { agent: 'planner', lease } }, 200);
    return json.tasks?.[0] ?? {};
}

async function tasks(caller, redis) {
    await caller.ask('dequeueTasks', { json: { agent: ['planner', 'critic'] } }, 204);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'task-17', correlation_id: 'order-4711', priority: 10 }) }, 201);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'task-17' }) }, 200);
    await caller.ask('enqueueTasks', { json: [task({ task_id: 'task-18' }), task({ task_id: 'task-17' }), task({ priority: 999 }), { agent: 'planner' }] }, 201);
    await caller.ask('enqueueTasks', { json: [task({ priority: 999 })] }, 422);
    await caller.ask('enqueueTasks', { json: [task({ task_id: 'task-18' })] }, 200);
    await caller.ask('enqueueTasks', { json: task({ priority: 999 }) }, 400);
    await caller.ask('enqueueTasks', { json: { agent: 'planner' } }, 422);
    await caller.look('countTasks', {}, 200);
    for (const state of ['ready', 'delayed', 'leased', 'dead', 'bad']) await caller.look('countTasks', { query: `state=${state}&limit=10` }, 200);
    await caller.look('countTasks', { query: 'state=lost' }, 400);
    await caller.look('readTask', { id: 'task-17' }, 200);
    await caller.look('readTask', { id: 'task-99' }, 404);
    let { task_id: id, receipt } = await takeOne(caller);
    await caller.ask('extendTask', { id, json: { receipt, lease: 60 } }, 200);
    await caller.ask('nackTask', { id, json: { receipt, delay: 0, reason: 'the model was overloaded' } }, 204);
    for (const one of ['ackTask', 'nackTask', 'extendTask']) {
        await caller.ask(one, { ...plain[one], id }, 409);
        await caller.ask(one, { ...plain[one], id: 'task-99' }, 404);
        await caller.ask(one, { ...plain[one], text: '{', json: undefined }, 400);
        await caller.ask(one, { ...plain[one], json: {} }, 422);
    }
    ({ task_id: id, receipt } = await takeOne(caller));
    await caller.ask('requeueTask', { id }, 409);
    await caller.ask('ackTask', { id, json: { receipt } }, 204);
    ({ task_id: id, receipt } = await takeOne(caller));
    await caller.ask('ackTasks', { json: { acks: [{ task_id: id, receipt }, { task_id: 'task-99', receipt }] } }, 200);
    for (const one of ['ackTasks', 'dequeueTasks']) {
        await caller.ask(one, { text: '{' }, 400);
        await caller.ask(one, { json: { acks: 'all', wait: 'long' } }, 422);
    }
    await caller.ask('dequeueTasks', { json: { count: 0 } }, 400);
    await caller.ask('requeueTask', { id: 'task-99' }, 404);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'task-19', max_attempts: 1 }) }, 201);
    ({ task_id: id, receipt } = await takeOne(caller));
    await caller.ask('nackTask', { id, json: { receipt, reason: 'the answer was no JSON' } }, 204);
    await caller.look('countTasks', { query: 'state=dead' }, 200);
    await caller.ask('requeueTask', { id }, 204);
    await caller.ask('cancelTask', { id }, 204);
    await caller.ask('cancelTask', { id: 'task-99' }, 404);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'task-20', max_attempts: 1 }) }, 201);
    ({ task_id: id, receipt } = await takeOne(caller));
    await caller.ask('nackTask', { id, json: { receipt } }, 204);
    await caller.ask('purgeTasks', { query: 'state=dead' }, 200);
    await caller.ask('purgeTasks', { query: 'state=ready' }, 400);
    if (!redis) return;
    redis.call('LPUSH', 'phoenix:tasks:queue', 'Act as an interviewer');
    await until('a bad item', async () => (await caller.ask('countTasks', {}, 200)).json.counts?.bad === 1);
    await caller.look('countTasks', { query: 'state=bad' }, 200);
    await until('quiet', async () => (await caller.ask('countTasks', {}, 200)).json.counts?.leased === 0);
}

// Where the queue's parts should be is something else. Some answers take one part, some another.
async function foreignQueue(caller, redis) {
    const parts = ['meta', 'body', 'leased', 'ops', 'done', 'done_order', 'ready', 'agents', 'expiry', 'delayed', 'arrival', 'waiters', 'seen', 'dead', 'returned', 'bad'];
    redis.call('FLUSHALL');
    for (const part of parts) redis.call('SET', `phoenix:tasks:${part}:{phoenix:tasks:queue}`, 'not a part');
    for (const id of contractIds(caller, '/tasks')) await caller.ask(id, plainOf(id), 409);
    redis.call('FLUSHALL');
}
const contractIds = (caller, prefix) => [...caller.contract.operations.values()].filter((operation) => operation.path.startsWith(prefix)).map(({ id }) => id);

async function well(world, contract) {
    const redis = await Redis.start(world);
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: redis.url });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    for (const room of [cache, sessions, health, locks, tasks, foreignQueue]) await room(caller, redis);
    for (const id of ['page', 'livez', 'readyz', 'metrics', 'openapi', 'status']) await caller.look(id, {}, 200);
    for (const id of ['livez', 'readyz', 'metrics', 'openapi']) await caller.look(id, { port: daemon.adminPort }, 200);
    await daemon.stop();
    await redis.stop();
}

async function embedded(world, contract) {
    const daemon = await Daemon.start(world);
    const caller = new Caller(contract, daemon);
    for (const room of [cache, sessions, health, locks, tasks]) await room(caller, null);
    for (const id of ['livez', 'readyz', 'metrics', 'openapi', 'status']) await caller.look(id, {}, 200);
    await daemon.stop();
}

// --- Redis is there, and it is not ---

// Leaves what the later steps need: a session, a lock, tasks in every state.
async function furnish(caller) {
    await caller.ask('putSession', { id: 'order-4711', json: { plan_id: 'interview' } }, 201);
    await caller.ask('putAgent', plain.putAgent, 200);
    const { json: lock } = await caller.ask('acquireLock', { id: 'deploy', json: { ttl: 300 } }, 201);
    await caller.ask('enqueueTasks', { json: ['a', 'b', 'c', 'd', 'e'].map((name) => task({ task_id: `leased-${name}`, max_attempts: 1 })) }, 201);
    const { json } = await caller.ask('dequeueTasks', { json: { agent: 'planner', count: 5, lease: 600 } }, 200);
    const leased = json.tasks.map(({ task_id: id, receipt }) => ({ id, receipt }));
    await caller.ask('nackTask', { id: leased[4].id, json: { receipt: leased[4].receipt } }, 204);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'ready-1' }) }, 201);
    return { token: lock.token, leased, dead: leased[4].id };
}

// All are sent together, and Redis stops before it answers any: each is in doubt until its deadline.
async function doubt(world, contract) {
    const redis = await Redis.start(world);
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: redis.url, ...DOUBT });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    const { token, leased, dead } = await furnish(caller);
    const guard = { headers: { 'If-None-Match': '*' } };
    const requests = [
        ['storeByInput', { ...guard, json: { input: freshPrompt(), response: 1 } }],
        ['storeByKey', { ...guard, id: 'in-doubt', json: { response: 1 } }],
        ['createSession', { json: { correlation_id: 'in-doubt' } }],
        ['createSession', { ...guard, json: { correlation_id: 'in-doubt-2' } }],
        ['putSession', { ...guard, id: 'in-doubt-3', json: {} }],
        ['patchSession', { id: 'order-4711', json: { task_id: 'task-17' }, headers: { 'If-Match': '*' } }],
        ['deleteSession', { id: 'order-4711', headers: { 'If-Match': '*' } }],
        ['acquireLock', { id: 'in-doubt', json: { ttl: 30 } }],
        ['renewLock', { id: 'deploy', json: { ttl: 30, token } }],
        ['releaseLock', { id: 'deploy', headers: { 'Phoenix-Lock-Token': token } }],
        ['enqueueTasks', { json: task({ task_id: 'in-doubt' }) }],
        ['purgeTasks', { query: 'state=dead' }],
        ['ackTasks', { json: { acks: [{ task_id: leased[0].id, receipt: leased[0].receipt }] } }],
        ['ackTask', { id: leased[1].id, json: { receipt: leased[1].receipt } }],
        ['nackTask', { id: leased[2].id, json: { receipt: leased[2].receipt } }],
        ['extendTask', { id: leased[3].id, json: { receipt: leased[3].receipt, lease: 60 } }],
        ['requeueTask', { id: dead }],
        ['cancelTask', { id: 'ready-1' }],
        ['dequeueTasks', { json: { agent: 'planner' } }],
    ];
    redis.pause();
    await Promise.all(requests.map(([id, request]) => caller.ask(id, request)));
    redis.resume();
    await daemon.stop();
    await redis.stop();
}

// A session's change is a look and a write: the look must come through, and the write's reply must not.
async function doubtOfSessions(world, contract) {
    const redis = await Redis.start(world);
    const proxy = await Proxy.start(redis.port);
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: proxy.url, ...DOUBT });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    const write = crypto.createHash('sha1').update(fs.readFileSync('src/engine/redis/scripts/record_write.lua')).digest('hex');
    await caller.ask('putSession', { id: 'order-4711', json: { plan_id: 'interview' } }, 201);
    const absent = { 'If-None-Match': '*' };
    const present = { 'If-Match': '*' };
    for (const [id, request] of [
        ['createSession', { json: { correlation_id: 'in-doubt' }, headers: absent }],
        ['putSession', { id: 'in-doubt-2', json: {}, headers: absent }],
        ['patchSession', { id: 'order-4711', json: { task_id: 'task-17' }, headers: present }],
        ['deleteSession', { id: 'order-4711', headers: present }],
    ]) {
        await until('a connection', async () => (await caller.ask('getSession', { id: 'unheard-of' })).status === 404);
        proxy.swallow(write);
        await caller.ask(id, request, 504);
        proxy.swallow(null);
    }
    await daemon.child.stop('SIGKILL');
    proxy.close();
    await redis.stop();
}

// What is in doubt is journaled, where the disk has room.
async function doubtWithoutDisk(world, contract) {
    const redis = await Redis.start(world);
    const disk = `${world.directory('disk')}/disk`;
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: redis.url, LD_PRELOAD: world.failingDisk, FAILING_DISK: disk, ...DOUBT });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    const { leased } = await furnish(caller);
    fs.writeFileSync(`${disk}.full`, '');
    redis.pause();
    const [a, b, c] = leased.map(({ id, receipt }) => ({ id, json: { receipt } }));
    await Promise.all([
        caller.ask('enqueueTasks', { json: task({ task_id: 'in-doubt' }) }, 504),
        caller.ask('ackTasks', { json: { acks: [{ task_id: a.id, ...a.json }] } }),
        caller.ask('ackTask', b, 504),
        caller.ask('nackTask', c, 504),
    ]);
    await daemon.child.stop('SIGKILL');
    await redis.child.stop('SIGKILL');
}

async function degraded(world, contract) {
    const redis = await Redis.start(world);
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: redis.url });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    const { token, leased, dead } = await furnish(caller);
    await redis.kill();
    await daemon.redisUp(false);
    await until('degraded answers', async () => (await caller.ask('getSession', { id: 'unheard-of' })).status === 503);
    for (const id of contract.operations.keys()) if (!/^(delete|purge|releaseLock)/.test(id)) await caller.ask(id, plainOf(id));
    await caller.ask('releaseLock', { id: 'deploy', headers: { 'Phoenix-Lock-Token': token } }, 202);
    await caller.ask('enqueueTasks', { json: task({ task_id: 'ready-2' }) }, 202);
    await caller.ask('enqueueTasks', { json: [task({ task_id: 'ready-3' })] }, 202);
    await caller.ask('ackTask', { id: leased[0].id, json: { receipt: leased[0].receipt } }, 202);
    await caller.ask('nackTask', { id: leased[1].id, json: { receipt: leased[1].receipt } }, 202);
    await caller.ask('extendTask', { id: leased[2].id, json: { receipt: leased[2].receipt, lease: 60 } }, 503);
    await caller.ask('ackTasks', { json: { acks: [{ task_id: leased[3].id, receipt: leased[3].receipt }] } }, 200);
    await caller.ask('requeueTask', { id: dead }, 503);
    await caller.ask('cancelTask', { id: 'ready-1' }, 503);
    await caller.ask('purgeTasks', { query: 'state=dead' });
    await caller.ask('storeByInput', { json: { input: freshPrompt(), response: 1 }, headers: { 'If-None-Match': '*' } }, 503);
    await caller.look('lookupByQuery', { query: 'input=unheard%20of' }, 404);
    for (const id of ['deleteByKey', 'deleteAgent', 'deleteSession']) await caller.ask(id, plain[id], 204);
    await caller.look('readyz', {}, 200);
    await caller.look('status', {}, 200);
    await daemon.child.stop('SIGKILL');
}

// Redis answers, but takes no writes.
async function refused(world, contract) {
    const redis = await Redis.start(world);
    const daemon = await Daemon.start(world, { PHOENIX_REDIS_URL: redis.url });
    await daemon.redisUp();
    const caller = new Caller(contract, daemon);
    const { token, leased, dead } = await furnish(caller);
    redis.call('CONFIG', 'SET', 'maxmemory', '1');
    for (const id of contract.operations.keys()) await caller.ask(id, plainOf(id));
    await caller.ask('storeByInput', { json: { input: freshPrompt(), response: 1 }, headers: { 'If-None-Match': '*' } }, 503);
    await caller.ask('acquireLock', { id: 'another', json: { ttl: 30 } }, 503);
    await caller.ask('renewLock', { id: 'deploy', json: { ttl: 30, token } });
    await caller.ask('requeueTask', { id: dead });
    await caller.ask('ackTask', { id: leased[0].id, json: { receipt: leased[0].receipt } });
    await daemon.child.stop('SIGKILL'); // it would wait for Redis to take what it has
    await redis.stop();
}

// --- the daemon's own bounds ---

async function fullMemory(world, contract) {
    const daemon = await Daemon.start(world, { PHOENIX_HTTP_INFLIGHT_BYTES_MAX: '65536' });
    const caller = new Caller(contract, daemon);
    for (const id of ['lookup', 'storeByInput', 'createSession', 'enqueueTasks']) await caller.ask(id, { json: { input: 'x'.repeat(100000) } }, 503);
    await daemon.stop();
}

async function fullSpool(world, contract) {
    const daemon = await Daemon.start(world, { PHOENIX_SPOOL_BYTES_MAX: '1048576' });
    const caller = new Caller(contract, daemon);
    const { token, leased, dead } = await furnish(caller);
    await until('a full spool', async () => (await caller.ask('putSession', { id: `s-${Math.random()}`, json: { data: 'x'.repeat(200000) } })).status === 503);
    await until('not even a small one', async () => (await caller.ask('putSession', { id: `s-${Math.random()}`, json: { data: 'x'.repeat(2000) } })).status === 503);
    for (const id of contract.operations.keys()) await caller.ask(id, plainOf(id));
    await caller.ask('acquireLock', { id: 'another', json: { ttl: 30 } });
    await caller.ask('renewLock', { id: 'deploy', json: { ttl: 30, token } });
    await caller.ask('ackTask', { id: leased[0].id, json: { receipt: leased[0].receipt } });
    await caller.ask('requeueTask', { id: dead });
    await daemon.stop();
}

// A connection that is there is still answered when the listeners are closed.
async function draining(world, contract) {
    for (const id of ['readyz', 'readyzHead']) {
        const daemon = await Daemon.start(world);
        const caller = new Caller(contract, daemon);
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        await caller.ask(id, { agent }, 200);
        daemon.child.signal('SIGTERM');
        await until('draining', () => /stopping/.test(fs.readFileSync(daemon.child.log, 'utf8')));
        await caller.ask(id, { agent }, 503);
        agent.destroy();
        await daemon.child.ended;
    }
}

// Paths and methods that the document does not name are refused, and Allow lists the methods that it does.
async function elsewhere(world, contract) {
    const daemon = await Daemon.start(world);
    for (const path of Object.keys(contract.spec.paths)) {
        const operations = [...contract.operations.values()].filter((operation) => operation.path === path);
        const known = operations.map(({ method }) => method).sort();
        for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'BREW'].filter((one) => !known.includes(one))) {
            const answer = await daemon.send(method, path.replace(/\{[^}]+\}/, 'task-17'), { port: daemon.portOf(operations[0]) }).catch((error) => ({ status: 0, headers: {}, body: error.message }));
            contract.judgeProblem(answer, 405, 'method_not_allowed', `${method} ${path}`);
            const allowed = (answer.headers.allow ?? '').split(', ').sort();
            if (String(allowed) !== String(known)) contract.faults.push(`${method} ${path}: Allow is ${allowed}, documented are ${known}`);
        }
    }
    for (const path of ['/', '/cached', '/cache/a/b', '/tasks/task-17/done', '/openapi.yaml'])
        contract.judgeProblem(await daemon.send('GET', path), 404, 'no_such_route', `GET ${path}`);
    await daemon.stop();
}

export const scenarios = { guarded, full, well, embedded, doubt, doubtOfSessions, doubtWithoutDisk, degraded, refused, fullMemory, fullSpool, draining, elsewhere };
