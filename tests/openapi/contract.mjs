// contract: the document as a judge. Takes live answers, finds what the document says of them, collects every fault, and knows at
// the end which operations, statuses and problem codes nobody has shown.
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete'];
// What HTTP itself puts into any answer; all others must be named.
const PLAIN_HEADERS = new Set(['date', 'connection', 'content-length', 'content-type', 'transfer-encoding']);

// What two answers of one kind have in common: the names in them, at every level, and which state they tell.
const STATES = new Set(['status', 'mode', 'state', 'circuit', 'allowed']);
function shape(value, name) {
    if (STATES.has(name)) return `=${value}`;
    if (typeof value !== 'object' || value === null) return '';
    if (Array.isArray(value)) return `[${[...new Set(value.map((item) => shape(item)))].sort()}]`;
    return `{${Object.keys(value).sort().map((member) => member + shape(value[member], member))}}`;
}
// Redis names the script that it refuses by a hash, and by its beginning alone where the text is cut.
const kind = (value) => (value?.code ? `${value.code}: ${value.detail}`.replace(/script: [0-9a-f]+/, 'script') : shape(value));

const escape = (step) => encodeURIComponent(String(step).replaceAll('~', '~0').replaceAll('/', '~1'));

export class Contract {
    constructor(spec) {
        this.spec = spec;
        this.ajv = new Ajv({ strict: false, allErrors: true });
        addFormats(this.ajv);
        this.ajv.addSchema(spec, 'document');
        this.operations = new Map(); // by operationId
        this.faults = [];
        this.seen = new Set(); // "operationId status"
        this.codes = new Set(); // "where code": where is a response of the components, or "operationId status"
        this.shown = {}; // by where and kind: the first such answer, for examples and who writes them
        for (const [path, item] of Object.entries(spec.paths))
            for (const method of METHODS.filter((name) => item[name]))
                this.operations.set(item[method].operationId, {
                    id: item[method].operationId,
                    method: method.toUpperCase(),
                    path,
                    adminOnly: item.servers?.length === 1,
                    responses: item[method].responses,
                    at: ['paths', path, method],
                });
    }

    // Follows a $ref: the object and where it stands.
    resolve(object, at) {
        if (!object.$ref) return { object, at };
        const steps = object.$ref.slice(2).split('/');
        return { object: steps.reduce((inner, step) => inner[step], this.spec), at: steps };
    }

    complaint(at, value) {
        const pointer = at.map(escape).join('/');
        const valid = this.ajv.validate({ $ref: `document#/${pointer}` }, value);
        return valid ? null : this.ajv.errorsText();
    }

    // answer: { status, headers (names in lower case), body (text) }. Faults go to this.faults.
    judge(id, answer, request = '') {
        const operation = this.operations.get(id);
        const fault = (what) => this.faults.push(`${operation.method} ${operation.path} ${answer.status}: ${what} [${request}] ${answer.body.slice(0, 200)}`);
        this.seen.add(`${id} ${answer.status}`);
        const named = operation.responses[answer.status];
        if (!named) return fault('the status is not documented');
        const { object: response, at } = this.resolve(named, [...operation.at, 'responses', String(answer.status)]);
        this.judgeHeaders(response, at, answer, fault);
        const where = named.$ref ? at.at(-1) : `${id} ${answer.status}`;
        const body = this.judgeBody(response, at, answer, operation, fault);
        if (body === undefined) return;
        if (body.code && answer.status >= 400) this.codes.add(`${where} ${body.code}`);
        ((this.shown[where] ??= {})[kind(body)] ??= []).push({ request, status: answer.status, body });
    }

    judgeHeaders(response, at, answer, fault) {
        const documented = Object.entries(response.headers ?? {});
        const names = new Set(documented.map(([name]) => name.toLowerCase()));
        for (const name of Object.keys(answer.headers))
            if (!PLAIN_HEADERS.has(name) && !names.has(name)) fault(`the header ${name} is not documented`);
        for (const [name, value] of documented) {
            const header = this.resolve(value, [...at, 'headers', name]);
            const text = answer.headers[name.toLowerCase()];
            if (text === undefined) {
                if (header.object.required) fault(`the header ${name} is missing`);
                continue;
            }
            const wrong = this.complaint([...header.at, 'schema'], text);
            if (wrong) fault(`the header ${name} is ${JSON.stringify(text)}: ${wrong}`);
        }
    }

    // The body, where there is one that is read as JSON.
    judgeBody(response, at, answer, operation, fault) {
        const type = (answer.headers['content-type'] ?? '').split(';')[0];
        if (operation.method === 'HEAD' || !response.content) {
            if (answer.body !== '') fault('a body where none is documented');
            return undefined;
        }
        if (!response.content[type]) return fault(`the content type ${JSON.stringify(type)} is not documented`);
        let value = answer.body;
        try {
            if (/json$/.test(type)) value = JSON.parse(answer.body);
        } catch {
            return fault('the body is no JSON');
        }
        const wrong = this.complaint([...at, 'content', type, 'schema'], value);
        if (wrong) fault(`the body: ${wrong}`);
        return /json$/.test(type) ? value : undefined;
    }

    // An answer that belongs to no operation.
    judgeProblem(answer, status, code, request) {
        const problem = /problem\+json/.test(answer.headers['content-type'] ?? '') && answer.body ? JSON.parse(answer.body) : {};
        const wrong = answer.body && this.complaint(['components', 'schemas', 'Problem'], problem);
        const headOnly = request.startsWith('HEAD') && answer.status === status;
        if (answer.status !== status || wrong || (problem.code !== code && !headOnly))
            this.faults.push(`${request}: ${answer.status} ${problem.code} instead of ${status} ${code} ${wrong ?? ''}`);
    }

    // Every "operationId status" that the document names, and every "response code".
    named() {
        const statuses = [];
        const codes = new Set();
        for (const operation of this.operations.values())
            for (const [status, value] of Object.entries(operation.responses)) {
                statuses.push(`${operation.id} ${status}`);
                const { object, at } = this.resolve(value, []);
                const problem = object.content?.['application/problem+json']?.schema;
                const where = value.$ref ? at.at(-1) : `${operation.id} ${status}`;
                for (const part of problem?.allOf ?? [])
                    for (const code of part.properties?.code?.enum ?? []) codes.add(`${where} ${code}`);
            }
        return { statuses, codes: [...codes] };
    }

    // Examples of answers that no daemon gave: a problem's code and detail, or else the names in the body, must be those of one.
    unreal() {
        const found = [];
        const look = (where, response) => {
            for (const media of Object.values(response.content ?? {}))
                for (const [name, { value }] of Object.entries(media.examples ?? {}))
                    if (typeof value === 'object' && !this.shown[where]?.[kind(value)]) found.push(`${where} ${name}: ${kind(value)}`);
        };
        for (const [name, response] of Object.entries(this.spec.components.responses)) look(name, response);
        for (const operation of this.operations.values())
            for (const [status, response] of Object.entries(operation.responses)) look(`${operation.id} ${status}`, response);
        return found;
    }

    // What is named and was not seen, but for `excused`: [[pattern, reason]]; and excuses that nothing needs.
    gaps(excused) {
        const { statuses, codes } = this.named();
        const missing = [
            ...statuses.filter((one) => !this.seen.has(one)),
            ...codes.filter((one) => !this.codes.has(one)),
            ...this.unreal().map((one) => `the example ${one}`),
        ];
        const unused = excused.filter(([pattern]) => !missing.some((one) => pattern.test(one)));
        return { missing: missing.filter((one) => !excused.some(([pattern]) => pattern.test(one))), unused };
    }
}
