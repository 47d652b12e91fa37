// caller: requests by operationId. Each answer goes to the contract; one that is not the expected one is a fault too.
import crypto from 'node:crypto';
import fs from 'node:fs';

// tests/data/prompts.csv: quoted fields, quotes doubled.
function readPrompts() {
    const text = fs.readFileSync('tests/data/prompts.csv', 'utf8');
    const rows = [...text.matchAll(/(?:^|\n)("(?:[^"]|"")*"|[^,\n]*),("(?:[^"]|"")*"|[^\n]*)/g)].slice(1);
    return rows.map(([, act, prompt]) => [act, prompt].map((field) => field.replace(/^"|"$/g, '').replaceAll('""', '"')));
}

export const prompts = readPrompts();
export const firstSentence = (text) => text.slice(0, text.indexOf('. ') + 1);
export const keyOf = (input) => crypto.createHash('sha256').update(input).digest('hex');
// A prompt that no other step uses, short enough for a query.
let used = 0;
export const freshPrompt = () => `Act as a ${prompts[used % prompts.length][0]}: question ${++used}`;

const report = { reason: 'upstream timed out' };
// For each operation a request that is well-formed: what the daemon says then depends on its state alone.
export const plain = {
    lookupByQuery: { query: 'input=Act%20as%20an%20interviewer' },
    storeByInput: { json: { input: 'Act as an interviewer', response: 'Shall we begin?' } },
    lookup: { json: { input: 'Act as an interviewer' } },
    getByKey: { id: 'interviewer' },
    storeByKey: { id: 'interviewer', json: { response: 'Shall we begin?' } },
    deleteByKey: { id: 'interviewer' },
    listSessions: {},
    createSession: { json: { plan_id: 'interview' } },
    getSession: { id: 'order-4711' },
    putSession: { id: 'order-4711', json: { plan_id: 'interview' } },
    patchSession: { id: 'order-4711', json: { plan_id: 'interview' } },
    deleteSession: { id: 'order-4711' },
    listAgents: {},
    getAgent: { id: 'planner' },
    putAgent: { id: 'planner', json: { health: 'Healthy' } },
    deleteAgent: { id: 'planner' },
    reportSuccess: { id: 'planner', json: {} },
    reportFailure: { id: 'planner', json: report },
    askPermit: { id: 'planner' },
    getLock: { id: 'deploy' },
    acquireLock: { id: 'deploy', json: { ttl: 30, owner: 'orchestrator-1' } },
    renewLock: { id: 'deploy', json: { ttl: 30, token: '0'.repeat(32) } },
    releaseLock: { id: 'deploy', headers: { 'Phoenix-Lock-Token': '0'.repeat(32) } },
    countTasks: {},
    enqueueTasks: { json: { agent: 'planner', payload: { prompt: 'Act as an interviewer' } } },
    purgeTasks: { query: 'state=dead' },
    dequeueTasks: { json: { agent: 'planner' } },
    ackTasks: { json: { acks: [{ task_id: 'task-17', receipt: 'r' }] } },
    ackTask: { id: 'task-17', json: { receipt: 'r' } },
    nackTask: { id: 'task-17', json: { receipt: 'r' } },
    extendTask: { id: 'task-17', json: { receipt: 'r', lease: 30 } },
    requeueTask: { id: 'task-17' },
    readTask: { id: 'task-17' },
    cancelTask: { id: 'task-17' },
    page: {},
    livez: {},
    readyz: {},
    metrics: {},
    openapi: {},
    status: {},
};
export const plainOf = (id) => plain[id.replace(/Head$/, '')];

export class Caller {
    constructor(contract, daemon, token) {
        this.contract = contract;
        this.daemon = daemon;
        this.token = token;
    }

    // request: { id, query, headers, json, text, agent, port }. `expected`: a status, or undefined for any that is documented.
    async ask(id, request, expected) {
        const operation = this.contract.operations.get(id);
        if (!operation) throw new Error(`there is no operation ${id}`);
        const target = operation.path.replace(/\{[^}]+\}/, request.id ?? '') + (request.query ? `?${request.query}` : '');
        const headers = { ...(this.token && { Authorization: `Bearer ${this.token}` }), ...request.headers };
        const body = request.json === undefined ? request.text : JSON.stringify(request.json);
        const shown = `${operation.method} ${target.slice(0, 200)} ${JSON.stringify(request.headers ?? {}).slice(0, 200)} ${(body ?? '').slice(0, 200)}`;
        let answer;
        try {
            answer = await this.daemon.send(operation.method, target, { headers, body, agent: request.agent, port: request.port ?? this.daemon.portOf(operation) });
        } catch (error) {
            this.contract.faults.push(`${operation.method} ${operation.path}: no answer: ${error.message} [${shown}]`);
            return { status: 0, headers: {}, body: '', json: {} };
        }
        this.contract.judge(id, answer, shown);
        if (expected && answer.status !== expected)
            this.contract.faults.push(`${shown}: ${answer.status} instead of ${expected} ${answer.body.slice(0, 300)}`);
        answer.json = /json/.test(answer.headers['content-type'] ?? '') && answer.body ? JSON.parse(answer.body) : {};
        return answer;
    }

    // A GET and the HEAD beside it.
    async look(id, request, expected) {
        await this.ask(`${id}Head`, request, expected);
        return this.ask(id, request, expected);
    }

    // Each operation with its plain request and these changes to it; null: not this one.
    async each(change, expected) {
        for (const id of this.contract.operations.keys()) {
            const changes = change(id, plainOf(id));
            if (changes) await this.ask(id, { ...plainOf(id), ...changes }, expected);
        }
    }
}
