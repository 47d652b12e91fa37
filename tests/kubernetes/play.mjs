// play.mjs rendered.yaml out-dir: what `podman kube play` takes of an overlay, one file per pod. Podman has no native sidecars (they become the
// first container), no Services (host names become addresses of the loopback), no claims and no volumes from Secrets (an emptyDir, a ConfigMap), no
// probes that need a program in the image. Everything else stays: images, commands, users, capabilities, limits, options, files.
import fs from "node:fs";
import YAML from "yaml";

const [, , rendered, out] = process.argv;
const objects = YAML.parseAllDocuments(fs.readFileSync(rendered, "utf8")).map((d) => d.toJSON()).filter(Boolean);
const find = (kind, name) => objects.find((o) => o.kind === kind && o.metadata.name === name);
const PORTS = { "redis-cache": 6379, "redis-state": 6380 }; // one loopback for all
const decode = (text) => Buffer.from(text, "base64").toString();

function filesOf(secret, items) {
  const data = Object.fromEntries(Object.entries(find("Secret", secret).data).map(([k, v]) => [k, decode(v)]));
  return items ? Object.fromEntries(items.map((i) => [i.path, data[i.key]])) : data;
}

function podOf(workload) {
  const name = workload.metadata.name;
  const spec = structuredClone(workload.spec.template.spec);
  const maps = [];
  spec.hostNetwork = true;
  spec.restartPolicy = "Never";
  delete spec.topologySpreadConstraints;
  spec.containers = [...(spec.initContainers ?? []), ...spec.containers];
  delete spec.initContainers;
  for (const c of spec.containers) {
    delete c.restartPolicy;
    delete c.lifecycle;
    delete c.ports;
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) delete c[probe];
    // What envFrom brings is written out: podman's `$(…)` knows it no other way.
    const env = Object.assign({}, ...(c.envFrom ?? []).map((f) => find("ConfigMap", f.configMapRef.name).data));
    for (const e of c.env ?? []) env[e.name] = e.value ?? decode(find("Secret", e.valueFrom.secretKeyRef.name).data[e.valueFrom.secretKeyRef.key]);
    for (const k of Object.keys(env)) env[k] = env[k].replace(/(redis-\w+):6379/, (_, host) => `127.0.0.1:${PORTS[host]}`);
    delete c.envFrom;
    c.env = Object.entries(env).map(([k, value]) => ({ name: k, value }));
    c.args = c.args?.map((a) => a.replace(/\$\((\w+)\)/g, (_, k) => env[k]));
    if (PORTS[name]) c.args.push("--port", String(PORTS[name]));
    for (const m of c.volumeMounts) m.name = `${name}-${m.name}`;
    c.imagePullPolicy = "Never";
    // README's example of a registry: here there is none.
    c.image = `localhost/${c.image.replace(/^registry\.example\/(.*):.*/, "$1:latest")}`;
    // The example's image is whatever stands still until it is stopped.
    if (c.name === "orchestrator") c.command = ["sleep", "infinity"];
  }
  const claims = (workload.spec.volumeClaimTemplates ?? []).map((c) => ({ name: c.metadata.name, emptyDir: {} }));
  // Podman's volumes are shared by all pods that use the same name.
  spec.volumes = [...(spec.volumes ?? []), ...claims].map((v) => {
    if (v.emptyDir) return { name: `${name}-${v.name}`, emptyDir: {} };
    const data = v.configMap ? find("ConfigMap", v.configMap.name).data : filesOf(v.secret.secretName, v.secret.items);
    maps.push({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: `${name}-${v.name}` }, data });
    return { name: `${name}-${v.name}`, configMap: { name: `${name}-${v.name}` } };
  });
  return [...maps, { apiVersion: "v1", kind: "Pod", metadata: { name, labels: workload.spec.template.metadata.labels }, spec }];
}

for (const w of objects.filter((o) => ["Deployment", "StatefulSet"].includes(o.kind)))
  fs.writeFileSync(`${out}/${w.metadata.name}.yaml`, podOf(w).map((o) => YAML.stringify(o)).join("---\n"));
