// check.mjs schema.json rendered.yaml: judges one rendered overlay, secrets included. Types and required members by kubernetes-models,
// unknown members by the schema, and then what no schema knows: that names meet, and what these manifests promise.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { monitoringCoreosCom } from "@kubernetes-models/prometheus-operator";
import Ajv from "ajv";
import YAML from "yaml";

const require = createRequire(import.meta.url);
const [, , schemaFile, renderedFile] = process.argv;
const ajv = new Ajv({ allErrors: true, strict: false, allowUnionTypes: true });
ajv.addSchema(JSON.parse(fs.readFileSync(schemaFile)));
const objects = YAML.parseAllDocuments(fs.readFileSync(renderedFile, "utf8"), { uniqueKeys: true }).map((d) => {
  if (d.errors.length) throw d.errors[0];
  return d.toJSON();
}).filter(Boolean);

let faults = 0;
const nameOf = (o) => `${o.kind}/${o.metadata?.name}`;
function expect(truth, where, what) {
  if (truth) return;
  faults++;
  console.log(`${where}: ${what}`);
}

// kustomize folds long base64, which the API takes and the model does not.
for (const o of objects.filter((o) => o.kind === "Secret"))
  for (const key of Object.keys(o.data ?? {})) o.data[key] = o.data[key].replace(/\s/g, "");

// --- types, required and unknown members ---

const CUSTOM = { "monitoring.coreos.com/v1": monitoringCoreosCom.v1 };

function judgeTypes(o) {
  let Model;
  try {
    Model = (CUSTOM[o.apiVersion] ?? require(`kubernetes-models/${o.apiVersion}/${o.kind}`))[o.kind];
  } catch {
    expect(false, nameOf(o), `no model of ${o.apiVersion}`);
    return;
  }
  try {
    new Model(o).validate();
  } catch (e) {
    expect(false, nameOf(o), e.message);
  }
}

function judgeMembers(o) {
  if (o.kind === "PodMonitor") return judgeMonitor(o);
  const group = o.apiVersion === "v1" ? "core.v1" : o.apiVersion.replace(".k8s.io", "").replace("/", ".");
  const name = `io.k8s.api.${group}.${o.kind}`;
  const judge = ajv.getSchema(`kubernetes#/definitions/${name}`);
  expect(judge, nameOf(o), `no schema ${name}`);
  if (!judge || judge(o)) return;
  for (const e of judge.errors) expect(false, nameOf(o), `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}

// The operator's model lets unknown members pass: its declarations for TypeScript know the names.
function judgeMonitor(o) {
  const operator = path.dirname(fileURLToPath(import.meta.resolve("@kubernetes-models/prometheus-operator")));
  const declared = (type) => new Set([...fs.readFileSync(`${operator}/monitoring.coreos.com/v1/${type}.d.ts`, "utf8").matchAll(/^ +"(\w+)"\??:/gm)].map((m) => m[1]));
  const judge = (type, value) => {
    for (const member of Object.keys(value)) expect(declared(type).has(member), nameOf(o), `${type} has no member ${member}`);
  };
  judge("PodMonitorSpec", o.spec);
  for (const endpoint of o.spec.podMetricsEndpoints) judge("PodMetricsEndpoint", endpoint);
}

// --- names that must meet ---

const all = (kind) => objects.filter((o) => o.kind === kind);
const named = (kind, name) => objects.find((o) => o.kind === kind && o.metadata.name === name);
const workloads = objects.filter((o) => ["Deployment", "StatefulSet", "Job"].includes(o.kind));
const podOf = (o) => o.spec.template.spec;
const containersOf = (o) => [...(podOf(o).initContainers ?? []), ...podOf(o).containers];
const matches = (selector, labels) => Object.entries(selector ?? {}).every(([k, v]) => labels?.[k] === v);
const selects = (selector) => workloads.filter((w) => matches(selector, w.spec.template.metadata.labels));
const hasKey = (o, key) => o && (key in (o.data ?? {}) || key in (o.stringData ?? {}));

function judgeVolumes(w) {
  const claims = (w.spec.volumeClaimTemplates ?? []).map((c) => c.metadata.name);
  const volumes = [...(podOf(w).volumes ?? []).map((v) => v.name), ...claims];
  expect(new Set(volumes).size === volumes.length, nameOf(w), "a volume twice");
  for (const v of podOf(w).volumes ?? [])
    for (const source of v.projected?.sources ?? [v]) {
      const map = source.configMap?.name, secret = source.secret?.secretName ?? source.secret?.name;
      if (map) expect(named("ConfigMap", map), nameOf(w), `no ConfigMap ${map}`);
      if (secret) expect(named("Secret", secret), nameOf(w), `no Secret ${secret}`);
      for (const item of source.secret?.items ?? []) expect(hasKey(named("Secret", secret), item.key), nameOf(w), `no ${item.key} in ${secret}`);
    }
  const used = new Set();
  for (const c of containersOf(w))
    for (const m of c.volumeMounts ?? []) {
      used.add(m.name);
      expect(volumes.includes(m.name), `${nameOf(w)} ${c.name}`, `no volume ${m.name}`);
      const map = (podOf(w).volumes ?? []).find((v) => v.name === m.name)?.configMap?.name;
      for (const word of map ? [...(c.command ?? []), ...(c.args ?? [])].filter((a) => a.startsWith(`${m.mountPath}/`)) : [])
        expect(hasKey(named("ConfigMap", map), word.slice(m.mountPath.length + 1)), nameOf(w), `no ${word} in ${map}`);
    }
  for (const v of volumes) expect(used.has(v), nameOf(w), `volume ${v} is mounted nowhere`);
}

function judgeReferences(w) {
  for (const c of containersOf(w)) {
    const where = `${nameOf(w)} ${c.name}`;
    for (const from of c.envFrom ?? []) expect(named("ConfigMap", from.configMapRef?.name), where, `no ConfigMap ${from.configMapRef?.name}`);
    for (const env of c.env ?? []) {
      const secret = env.valueFrom?.secretKeyRef;
      if (secret) expect(hasKey(named("Secret", secret.name), secret.key), where, `no ${secret.key} in ${secret.name}`);
    }
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
      const port = c[probe]?.httpGet?.port ?? c[probe]?.tcpSocket?.port;
      if (port) expect((c.ports ?? []).some((p) => p.name === port), where, `${probe}: no port ${port}`);
    }
  }
  const account = podOf(w).serviceAccountName;
  if (account) expect(named("ServiceAccount", account), nameOf(w), `no ServiceAccount ${account}`);
  if (w.kind !== "Job") expect(matches(w.spec.selector.matchLabels, w.spec.template.metadata.labels), nameOf(w), "does not select its own pods");
}

function judgeSelectors() {
  for (const o of all("Service")) {
    const pods = selects(o.spec.selector);
    expect(pods.length === 1, nameOf(o), `selects the pods of ${pods.length} workloads`);
    for (const port of o.spec.ports)
      expect(pods.every((w) => containersOf(w).some((c) => (c.ports ?? []).some((p) => p.name === port.targetPort))), nameOf(o), `no port ${port.targetPort}`);
  }
  for (const o of all("PodDisruptionBudget")) expect(selects(o.spec.selector.matchLabels).length === 1, nameOf(o), "must select one workload");
  for (const o of all("PodMonitor")) expect(selects(o.spec.selector.matchLabels).length === 1, nameOf(o), "must select one workload");
  for (const o of all("NetworkPolicy")) {
    expect(selects(o.spec.podSelector.matchLabels).length > 0, nameOf(o), "selects nothing");
    for (const rule of [...(o.spec.ingress ?? []), ...(o.spec.egress ?? [])])
      for (const peer of [...(rule.from ?? []), ...(rule.to ?? [])])
        if (peer.podSelector) expect(selects(peer.podSelector.matchLabels).length > 0, nameOf(o), "a peer that is nobody");
  }
}

// --- what these manifests promise ---

function judgeRestricted(w) {
  const pod = podOf(w).securityContext ?? {};
  expect(pod.runAsNonRoot === true && pod.runAsUser > 0 && pod.seccompProfile?.type === "RuntimeDefault", nameOf(w), "not of the restricted profile");
  expect(podOf(w).automountServiceAccountToken === false, nameOf(w), "mounts a token of the API server that it does not need");
  for (const c of containersOf(w)) {
    const s = c.securityContext ?? {};
    expect(s.allowPrivilegeEscalation === false && s.readOnlyRootFilesystem === true && String(s.capabilities?.drop) === "ALL" && !s.capabilities?.add,
      `${nameOf(w)} ${c.name}`, "not of the restricted profile");
    expect(c.resources?.requests?.memory && c.resources?.requests?.cpu && c.resources?.limits?.memory, `${nameOf(w)} ${c.name}`, "no resources");
    expect(!c.image.endsWith("/") && c.image.includes(":"), `${nameOf(w)} ${c.name}`, `image ${c.image} has no tag`);
  }
}

const UNITS = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30 };
const bytes = (text) => parseInt(text, 10) * UNITS[/[A-Za-z]+$/.exec(text)[0]];

function judgeRedis(w) {
  for (const c of containersOf(w).filter((c) => c.args?.includes("--maxmemory"))) {
    const limits = named("ConfigMap", c.envFrom[0].configMapRef.name);
    const share = bytes(limits.data.REDIS_MAXMEMORY) / bytes(c.resources.limits.memory);
    expect(share === 0.75, nameOf(w), `maxmemory is ${share} of the memory limit, not 0.75`);
    expect(c.args[c.args.indexOf("--maxmemory") + 1] === "$(REDIS_MAXMEMORY)", nameOf(w), "maxmemory is not the ConfigMap's");
  }
}

function judgeSidecar() {
  const w = workloads.find((o) => o.metadata.name === "orchestrator");
  const c = podOf(w).initContainers.at(-1);
  const where = `${nameOf(w)} ${c.name}`;
  expect(c.name === "phoenix-cached" && c.restartPolicy === "Always", where, "is no native sidecar, or something starts after it");
  expect(c.startupProbe.httpGet.path === "/readyz" && c.readinessProbe.httpGet.path === "/readyz" && c.livenessProbe.httpGet.path === "/livez", where, "probes");
  expect(c.ports.some((p) => p.name === "admin" && p.containerPort === 8380), where, "no admin port");
  expect(!c.lifecycle, where, "a hook that would run while the orchestrator still needs it");
  const options = named("ConfigMap", c.envFrom[0].configMapRef.name).data;
  expect(/^redis/.test(options.PHOENIX_REDIS_URL ?? ""), where, "no PHOENIX_REDIS_URL: it would grant its own locks");
  expect(options.PHOENIX_ADMIN_LISTEN === "0.0.0.0:8380", where, "the kubelet does not reach the admin listener");
  const hosts = `${options.PHOENIX_REDIS_URL},${options.PHOENIX_REDIS_STATE_URL}`.match(/[a-z0-9.-]+:\d+/g);
  for (const host of hosts) {
    const service = named("Service", host.replace(/:.*/, "").split(".").at(-1));
    expect(service?.spec.ports.some((p) => p.port === Number(host.replace(/.*:/, ""))), where, `${host}: no such Service`);
  }
  const grace = podOf(w).terminationGracePeriodSeconds, main = podOf(w).containers[0].lifecycle.preStop.sleep.seconds;
  expect(grace >= main + 25 + Number(options.PHOENIX_HTTP_DRAIN_TIMEOUT_MS) / 1000 + 5, where, "the grace period leaves no time to drain");
  const spool = c.volumeMounts.find((m) => options.PHOENIX_SPOOL_PATH.startsWith(`${m.mountPath}/`));
  expect(spool && !spool.readOnly, where, "the spool is on no volume");
  expect(w.kind !== "StatefulSet" || w.spec.volumeClaimTemplates.some((v) => v.metadata.name === spool.name), where, "a StatefulSet without a claim for the spool");
}

// What has none goes to whichever namespace the applier is in.
function judgeNamespace(o) {
  if (o.kind !== "Namespace") expect(o.metadata.namespace === all("Namespace")[0]?.metadata.name, nameOf(o), `is in the namespace ${o.metadata.namespace}`);
}

for (const o of objects) {
  judgeNamespace(o);
  judgeTypes(o);
  judgeMembers(o);
}
for (const w of workloads) {
  judgeVolumes(w);
  judgeReferences(w);
  judgeRestricted(w);
  judgeRedis(w);
}
judgeSelectors();
judgeSidecar();
// 3, so that a fault of this script itself (1) is told from one that it found.
process.exit(faults ? 3 : 0);
