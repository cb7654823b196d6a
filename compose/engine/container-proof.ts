/**
 * Whether the containers of a Compose project are what the rendered file says: a pure comparison of
 * `docker compose config --format json` with `GET /containers/{id}/json`.
 *
 * A container may have been made by another file, by hand, or by an engine that drops what it does not
 * know in silence (Swarm loses security_opt). So everything that decides what a container may do is
 * compared, what the file does not say must be off, and a mount, network or container too many is a
 * difference as much as one too few.
 */
import { isDeepStrictEqual } from "node:util";
import type { ImageConfig } from "../../bundles/model/oci.ts";

export interface ContainerDifference {
  readonly service: string;
  /** The member of the Compose file that it is about. */
  readonly what: string;
  readonly got: unknown;
  readonly want: unknown;
}

/** What `proveImages` found of each service's image, by the reference that the file names. */
export interface RunnableImage {
  readonly id: string;
  readonly config: ImageConfig;
}

type Members = Readonly<Record<string, unknown>>;

/**
 * `model` is what Compose normalised, `inspected` every container with the project's label. One container
 * for each service is expected.
 *
 * Not compared: what is inside named volumes, the engine's own masked paths, seccomp and AppArmor
 * profiles beyond `security_opt`, addresses that the engine chose.
 */
export function containerDifferences(
  model: unknown,
  inspected: readonly unknown[],
  images: ReadonlyMap<string, RunnableImage>,
): ContainerDifference[] {
  const project = members(model);
  const services = members(project["services"]);
  const found = new Map<string, Members[]>();
  for (const container of inspected.map(members)) {
    const service = String(members(members(container["Config"])["Labels"])["com.docker.compose.service"] ?? "");
    found.set(service, [...(found.get(service) ?? []), container]);
  }
  const differences: ContainerDifference[] = [];
  for (const [service, containers] of found) {
    if (Object.hasOwn(services, service)) continue;
    const names = containers.map((container) => container["Name"]);
    differences.push({ service, what: "containers", got: names, want: [] });
  }
  for (const [service, value] of Object.entries(services)) {
    const containers = found.get(service) ?? [];
    const [container] = containers;
    if (!container || containers.length !== 1) {
      differences.push({ service, what: "containers", got: containers.length, want: 1 });
      continue;
    }
    differences.push(...compareContainer(service, members(value), project, container, images));
  }
  return differences;
}

/** One line for a person. Values of the environment may be secrets, so only names are said. */
export function differenceText(difference: ContainerDifference): string {
  const { service, what, got, want } = difference;
  const show = (value: unknown): string => {
    const shown =
      what === "environment" && Array.isArray(value) ? value.map((one) => String(one).split("=")[0]) : value;
    return JSON.stringify(shown) ?? "nothing";
  };
  return `service ${JSON.stringify(service)}: ${what}: got ${show(got)}, want ${show(want)}`;
}

function compareContainer(
  service: string,
  file: Members,
  project: Members,
  container: Members,
  images: ReadonlyMap<string, RunnableImage>,
): ContainerDifference[] {
  const differences: ContainerDifference[] = [];
  const compare = (what: string, got: unknown, want: unknown): void => {
    if (!isDeepStrictEqual(got, want)) differences.push({ service, what, got, want });
  };
  const config = members(container["Config"]);
  const host = members(container["HostConfig"]);
  const reference = String(file["image"] ?? "");
  const image = images.get(reference);
  if (!image) return [{ service, what: "image", got: reference, want: [...images.keys()] }];
  const runtime = members(image.config.config);

  compare("image", config["Image"], reference);
  compare("image id", container["Image"], image.id);
  compare("user", text(config["User"]), text(file["user"]) || text(runtime["User"]));
  compare("environment", strings(config["Env"]).sort(), environment(runtime["Env"], file["environment"]));
  const entrypoint = given(file["entrypoint"]);
  compare("entrypoint", strings(config["Entrypoint"]), entrypoint ?? strings(runtime["Entrypoint"]));
  const command = given(file["command"]) ?? (entrypoint ? [] : strings(runtime["Cmd"]));
  compare("command", strings(config["Cmd"]), command);
  compare("working_dir", rooted(config["WorkingDir"]), rooted(file["working_dir"] ?? runtime["WorkingDir"]));
  compare("stop_signal", text(config["StopSignal"]), text(file["stop_signal"] ?? runtime["StopSignal"]));

  compare("read_only", host["ReadonlyRootfs"] === true, file["read_only"] === true);
  compare("privileged", host["Privileged"] === true, false);
  compare("cap_add", capabilities(host["CapAdd"]), capabilities(file["cap_add"]));
  compare("cap_drop", capabilities(host["CapDrop"]), capabilities(file["cap_drop"]));
  compare("security_opt", securityOptions(host["SecurityOpt"]), securityOptions(file["security_opt"]));
  for (const member of ["Devices", "DeviceCgroupRules", "DeviceRequests", "GroupAdd", "VolumesFrom", "Links"]) {
    compare(member, list(host[member]).length, 0);
  }
  for (const member of ["ExtraHosts", "DnsOptions", "DnsSearch"]) compare(member, list(host[member]).length, 0);
  compare("Dns", strings(host["Dns"]), strings(file["dns"]));
  for (const member of ["PidMode", "UTSMode", "UsernsMode", "CgroupParent"]) compare(member, text(host[member]), "");
  compare("IpcMode", text(host["IpcMode"]), "private");
  compare("init", host["Init"] === true, file["init"] === true);
  compare("AutoRemove", host["AutoRemove"] === true, false);

  compare("mem_limit", Number(host["Memory"] ?? 0), Number(file["mem_limit"] ?? 0));
  compare("mem_reservation", Number(host["MemoryReservation"] ?? 0), Number(file["mem_reservation"] ?? 0));
  compare("pids_limit", Number(host["PidsLimit"] ?? 0), Number(file["pids_limit"] ?? 0));
  compare("cpus", Number(host["NanoCpus"] ?? 0), Math.round(Number(file["cpus"] ?? 0) * 1e9));
  if (file["shm_size"] !== undefined) compare("shm_size", Number(host["ShmSize"]), Number(file["shm_size"]));
  compare("ulimits", actualLimits(host["Ulimits"]), wantedLimits(file["ulimits"]));

  compare("mounts", actualMounts(container, host), wantedMounts(file, project));
  const networks = members(members(container["NetworkSettings"])["Networks"]);
  compare("networks", Object.keys(networks).sort(), wantedNetworks(file, project));
  for (const [name, options] of Object.entries(members(file["networks"]))) {
    const real = networkName(name, project);
    const got = strings(members(networks[real])["Aliases"]);
    const want = strings(members(options)["aliases"]);
    compare(
      `aliases in ${real}`,
      want.filter((alias) => got.includes(alias)),
      want,
    );
  }
  compare("ports", actualPorts(host["PortBindings"]), wantedPorts(file["ports"]));
  compare("PublishAllPorts", host["PublishAllPorts"] === true, false);
  compare("restart", restartPolicy(host["RestartPolicy"]), text(file["restart"]) || "no");
  const logging = members(file["logging"]);
  if (file["logging"] !== undefined) {
    const log = members(host["LogConfig"]);
    compare(
      "logging",
      { driver: log["Type"], options: { ...members(log["Config"]) } },
      {
        driver: logging["driver"],
        options: { ...members(logging["options"]) },
      },
    );
  }
  const check = members(file["healthcheck"]);
  if (Array.isArray(check["test"]))
    compare("healthcheck", strings(members(config["Healthcheck"])["Test"]), check["test"]);
  return differences;
}

function environment(fromImage: unknown, fromFile: unknown): string[] {
  const merged = new Map<string, string>();
  for (const entry of strings(fromImage)) merged.set(entry.split("=")[0] ?? "", entry);
  for (const [name, value] of Object.entries(members(fromFile))) {
    merged.set(name, value === null ? name : `${name}=${value}`);
  }
  return [...merged.values()].sort();
}

interface MountText {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly writable: boolean;
}

function sorted(mounts: readonly MountText[]): readonly MountText[] {
  return [...mounts].sort((a, b) => (a.target < b.target ? -1 : 1));
}

function actualMounts(container: Members, host: Members): readonly MountText[] {
  const mounts = list(container["Mounts"]).map((item): MountText => {
    const mount = members(item);
    const type = text(mount["Type"]);
    const source = type === "volume" ? text(mount["Name"]) : type === "tmpfs" ? "" : text(mount["Source"]);
    return { type, source, target: text(mount["Destination"]), writable: mount["RW"] === true };
  });
  const memory = Object.entries(members(host["Tmpfs"])).map(
    ([target, options]): MountText => ({ type: "tmpfs", source: text(options), target, writable: true }),
  );
  return sorted([...mounts, ...memory]);
}

function wantedMounts(file: Members, project: Members): readonly MountText[] {
  const volumes = list(file["volumes"]).map((item): MountText => {
    const volume = members(item);
    const type = text(volume["type"]);
    const source = text(volume["source"]);
    const real = type === "volume" ? text(members(members(project["volumes"])[source])["name"]) : source;
    return { type, source: real, target: text(volume["target"]), writable: volume["read_only"] !== true };
  });
  const files = (["secrets", "configs"] as const).flatMap((member) =>
    list(file[member]).map((item): MountText => {
      const one = members(item);
      const source = text(one["source"]);
      const standard = member === "secrets" ? `/run/secrets/${source}` : `/${source}`;
      const target = text(one["target"]) || standard;
      return {
        type: "bind",
        source: text(members(members(project[member])[source])["file"]),
        target: target.startsWith("/") ? target : `/run/secrets/${target}`,
        writable: false,
      };
    }),
  );
  const memory = strings(file["tmpfs"]).map((entry): MountText => {
    const colon = entry.indexOf(":");
    const [target, source] = colon < 0 ? [entry, ""] : [entry.slice(0, colon), entry.slice(colon + 1)];
    return { type: "tmpfs", source, target, writable: true };
  });
  return sorted([...volumes, ...files, ...memory]);
}

function networkName(name: string, project: Members): string {
  return text(members(members(project["networks"])[name])["name"]) || `${text(project["name"])}_${name}`;
}

function wantedNetworks(file: Members, project: Members): string[] {
  const mode = text(file["network_mode"]);
  if (mode !== "") return [mode];
  return Object.keys(members(file["networks"]))
    .map((name) => networkName(name, project))
    .sort();
}

function actualPorts(bindings: unknown): string[] {
  return Object.entries(members(bindings))
    .flatMap(([port, places]) =>
      list(places).map((place) => `${text(members(place)["HostIp"])}:${text(members(place)["HostPort"])}:${port}`),
    )
    .sort();
}

function wantedPorts(ports: unknown): string[] {
  return list(ports)
    .map(members)
    .map((port) => `${text(port["host_ip"])}:${port["published"] ?? ""}:${port["target"]}/${port["protocol"] ?? "tcp"}`)
    .sort();
}

function restartPolicy(policy: unknown): string {
  const { Name, MaximumRetryCount } = members(policy);
  const name = text(Name) || "no";
  return name === "on-failure" && Number(MaximumRetryCount) > 0 ? `${name}:${Number(MaximumRetryCount)}` : name;
}

function actualLimits(limits: unknown): string[] {
  return list(limits)
    .map(members)
    .map((limit) => `${text(limit["Name"])}=${Number(limit["Soft"])}:${Number(limit["Hard"])}`)
    .sort();
}

function wantedLimits(limits: unknown): string[] {
  return Object.entries(members(limits))
    .map(([name, limit]) => {
      const both = typeof limit === "number" ? { soft: limit, hard: limit } : members(limit);
      return `${name}=${Number(both["soft"])}:${Number(both["hard"])}`;
    })
    .sort();
}

function capabilities(value: unknown): string[] {
  return strings(value)
    .map((name) => name.toUpperCase().replace(/^CAP_/, ""))
    .sort();
}

/** Engines write the short and the long form of the same option. */
function securityOptions(value: unknown): string[] {
  return strings(value)
    .map((option) => (option === "no-new-privileges" ? "no-new-privileges:true" : option.replace(/^([a-z-]+)=/, "$1:")))
    .sort();
}

function rooted(value: unknown): string {
  return text(value) || "/";
}

/** A list that the file gives, also an empty one; undefined if it says nothing. */
function given(value: unknown): string[] | undefined {
  return value === undefined || value === null ? undefined : strings(value);
}

function members(value: unknown): Members {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function strings(value: unknown): string[] {
  return list(value).map(String);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
