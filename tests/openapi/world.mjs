// world: real daemons and redis-servers of the test's own, each in a directory below one that the caller gives, and HTTP as it is
// on the wire. What is started here ends here: by its own process, and with this one.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';

const READY_MS = 20000;
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, condition, ms = READY_MS) {
    for (const end = Date.now() + ms; Date.now() < end; await sleep(10)) if (await condition()) return;
    throw new Error(`waited ${ms} ms for: ${what}`);
}

function freePort() {
    return new Promise((resolve) => {
        const server = net.createServer().listen(0, '127.0.0.1', () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

class Child {
    constructor(program, args, env, dir) {
        this.dir = dir;
        this.log = path.join(dir, 'log');
        const log = fs.openSync(this.log, 'a');
        this.process = spawn(program, args, { cwd: dir, env, stdio: ['ignore', log, log] });
        fs.closeSync(log);
        children.add(this.process);
        this.ended = new Promise((resolve) => this.process.on('exit', (code) => resolve(code)));
        this.ended.then(() => children.delete(this.process));
    }

    signal(name) {
        this.process.kill(name);
    }

    async stop(name = 'SIGTERM') {
        this.signal('SIGCONT');
        this.signal(name);
        return this.ended;
    }
}

export class Redis {
    static async start(world, ...args) {
        const redis = new Redis();
        redis.port = await freePort();
        redis.dir = world.directory('redis');
        redis.args = ['--bind', '127.0.0.1', '--port', String(redis.port), '--dir', redis.dir, '--save', '', '--loglevel', 'warning', ...args];
        await redis.restart();
        return redis;
    }

    async restart() {
        this.child = new Child('redis-server', this.args, process.env, this.dir);
        await until('redis-server', () => {
            try {
                return this.call('PING') === 'PONG';
            } catch {
                return false;
            }
        });
    }

    get url() {
        return `redis://127.0.0.1:${this.port}`;
    }

    call(...args) {
        return execFileSync('redis-cli', ['-p', String(this.port), ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    }

    kill() {
        return this.child.stop('SIGKILL');
    }
    pause() {
        this.child.signal('SIGSTOP');
    }
    resume() {
        this.child.signal('SIGCONT');
    }
    stop() {
        return this.child.stop();
    }
}

// Between a daemon and its Redis: swallows each connection from the first command on that holds a word.
export class Proxy {
    static start(port) {
        const proxy = new Proxy();
        proxy.sockets = new Set();
        proxy.server = net.createServer((client) => proxy.relay(client, net.connect(port, '127.0.0.1')));
        return new Promise((resolve) => proxy.server.listen(0, '127.0.0.1', () => resolve(proxy)));
    }

    get url() {
        return `redis://127.0.0.1:${this.server.address().port}`;
    }

    swallow(word) {
        this.word = word;
    }

    relay(client, server) {
        let silent = false;
        client.on('data', (bytes) => {
            silent ||= Boolean(this.word) && bytes.includes(this.word);
            if (!silent) server.write(bytes);
        });
        server.on('data', (bytes) => silent || client.write(bytes));
        for (const [one, other] of [[client, server], [server, client]]) {
            this.sockets.add(one);
            one.on('error', () => {});
            one.on('close', () => {
                this.sockets.delete(one);
                other.destroy();
            });
        }
    }

    close() {
        this.server.close();
        this.sockets.forEach((socket) => socket.destroy());
    }
}

export class Daemon {
    static async start(world, options = {}) {
        const daemon = new Daemon();
        daemon.port = await freePort();
        daemon.adminPort = await freePort();
        daemon.dir = world.directory('daemon');
        const env = {
            PATH: process.env.PATH,
            PHOENIX_HTTP_LISTEN: `127.0.0.1:${daemon.port}`,
            PHOENIX_ADMIN_LISTEN: `127.0.0.1:${daemon.adminPort}`,
            PHOENIX_HTTP_WORKERS: '1',
            ...options,
        };
        daemon.child = new Child(world.program, [], env, daemon.dir);
        await until('phoenix-cached', async () => (await daemon.send('GET', '/readyz').catch(() => ({}))).status === 200);
        return daemon;
    }

    portOf(operation) {
        return operation.adminOnly ? this.adminPort : this.port;
    }

    // Resolves with { status, headers, body }. `agent`: keeps the connection.
    send(method, target, { headers = {}, body, agent = false, port = this.port } = {}) {
        return new Promise((resolve, reject) => {
            const all = { ...headers };
            if (body !== undefined) all['Content-Length'] ??= Buffer.byteLength(body);
            const request = http.request({ host: '127.0.0.1', port, method, path: target, headers: all, agent, timeout: 30000 });
            request.on('timeout', () => request.destroy(new Error('no answer')));
            request.on('error', reject);
            request.on('response', (response) => {
                const chunks = [];
                response.on('data', (chunk) => chunks.push(chunk));
                response.on('error', reject);
                response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }));
            });
            request.end(body);
        });
    }

    // What a connection is told that sends nothing.
    listen() {
        return new Promise((resolve, reject) => {
            let text = '';
            const socket = net.connect(this.port, '127.0.0.1');
            socket.on('data', (bytes) => (text += bytes));
            socket.on('error', reject);
            socket.on('end', () => {
                const [head, body] = text.split('\r\n\r\n');
                const [line, ...fields] = head.split('\r\n');
                const headers = Object.fromEntries(fields.map((field) => field.split(/: */, 2)).map(([name, value]) => [name.toLowerCase(), value]));
                resolve({ status: Number(line.split(' ')[1]), headers, body });
            });
        });
    }

    // All series of this name together.
    async metric(name) {
        const { body } = await this.send('GET', '/metrics', { port: this.adminPort });
        const series = body.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
        return series.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    }

    redisUp(up = true) {
        return until(`phoenix_redis_up ${up}`, async () => (await this.metric('phoenix_redis_up')) === Number(up));
    }

    stop() {
        return this.child.stop();
    }
}

export class World {
    // failingDisk: tests/preload/failing_disk.c, built.
    constructor(dir, program, failingDisk) {
        this.dir = dir;
        this.program = program;
        this.failingDisk = failingDisk;
        this.count = 0;
    }

    directory(name) {
        const dir = path.join(this.dir, `${name}-${this.count++}`);
        fs.mkdirSync(dir, { recursive: true });
        return dir;
    }
}
