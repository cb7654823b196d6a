/**
 * Sections 4 and 5 of the CIS Docker Benchmark 1.6.0, as far as they can be seen in what `docker inspect`
 * says of a container, judged for the containers of a site; and what becomes of the others (ELSEWHERE). Ids
 * are the benchmark's; titles are ours.
 */

/** What the rules read of one container of `docker inspect`. */
export interface InspectedContainer {
  readonly Name: string;
  readonly State: { readonly Pid: number };
  readonly AppArmorProfile?: string;
  readonly Config: {
    readonly User: string;
    readonly Image: string;
    readonly Env: readonly string[] | null;
    readonly Healthcheck?: { readonly Test?: readonly string[] };
    readonly Labels: Readonly<Record<string, string>>;
  };
  readonly HostConfig: {
    readonly Privileged: boolean;
    readonly CapAdd: readonly string[] | null;
    readonly CapDrop: readonly string[] | null;
    readonly SecurityOpt: readonly string[] | null;
    readonly ReadonlyRootfs: boolean;
    readonly Memory: number;
    readonly NanoCpus: number;
    readonly PidsLimit: number | null;
    readonly NetworkMode: string;
    readonly PidMode: string;
    readonly IpcMode: string;
    readonly UTSMode: string;
    readonly UsernsMode: string;
    readonly CgroupParent: string;
    readonly RestartPolicy: { readonly Name: string };
    readonly Devices: readonly unknown[] | null;
    readonly DeviceRequests: readonly unknown[] | null;
    readonly DeviceCgroupRules: readonly string[] | null;
    readonly Ulimits: readonly unknown[] | null;
    readonly Tmpfs?: Readonly<Record<string, string>> | null;
    readonly MaskedPaths: readonly string[] | null;
    readonly ReadonlyPaths: readonly string[] | null;
    readonly PortBindings: Readonly<Record<string, readonly PortBinding[] | null>> | null;
    readonly PublishAllPorts: boolean;
  };
  readonly Mounts: readonly {
    readonly Type: string;
    readonly Source: string;
    readonly RW: boolean;
    readonly Propagation: string;
  }[];
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>> };
}

interface PortBinding {
  readonly HostIp: string;
  readonly HostPort: string;
}

/** What the site itself says about the container. */
export interface Expected {
  /** Directory below which everything lies that may be mounted from the host. */
  readonly state: string;
  /** `address:port` on the host, if this service publishes one. */
  readonly published?: string;
  /** Why the service has no health check, if it has none. */
  readonly withoutHealthCheck?: string;
}

export interface ContainerRule {
  readonly id: string;
  readonly title: string;
  holds(container: InspectedContainer, expected: Expected): boolean;
}

const SECRET_VARIABLE =
  /^[^=]*(?:PASSWORD|SECRET|TOKEN|PEPPER|KEY)[^=]*(?<!_FILE)=(?!\d*$)|^[^=]*=.*(?:-----BEGIN|slk_)/i;
const isEmpty = (list: readonly unknown[] | null | undefined): boolean => (list ?? []).length === 0;

export const CONTAINER_RULES: readonly ContainerRule[] = [
  { id: "4.1", title: "a user of its own, by number, not root", holds: ({ Config }) => isPlainUser(Config.User) },
  {
    id: "4.10",
    title: "no secret in its environment, only names of files",
    holds: ({ Config }) => (Config.Env ?? []).every((entry) => !SECRET_VARIABLE.test(entry)),
  },
  {
    id: "5.4",
    title: "no capability",
    holds: ({ HostConfig: { CapAdd, CapDrop } }) => isEmpty(CapAdd) && CapDrop?.join() === "ALL",
  },
  { id: "5.5", title: "not privileged", holds: ({ HostConfig }) => !HostConfig.Privileged },
  {
    id: "5.6",
    title: "of the host only the site's own files, to be read",
    holds: ({ Mounts }, { state }) =>
      Mounts.every(({ Type, Source, RW }) => Type !== "bind" || (Source.startsWith(`${state}/`) && !RW)),
  },
  {
    id: "5.8",
    title: "no privileged port of the host",
    holds: (container) => bindings(container).every(({ HostPort }) => Number(HostPort) >= 1024),
  },
  {
    id: "5.9",
    title: "publishes what it should and nothing else",
    holds: (container, { published }) =>
      !container.HostConfig.PublishAllPorts &&
      bindings(container)
        .map(({ HostPort }) => HostPort)
        .join() === (published?.split(":")[1] ?? ""),
  },
  {
    id: "5.10",
    title: "not in the host's network",
    holds: ({ HostConfig }) => !/^(?:host|container:.*)$/.test(HostConfig.NetworkMode),
  },
  { id: "5.11", title: "memory is limited", holds: ({ HostConfig }) => HostConfig.Memory > 0 },
  { id: "5.12", title: "processor time is limited", holds: ({ HostConfig }) => HostConfig.NanoCpus > 0 },
  { id: "5.13", title: "its root file system is read-only", holds: ({ HostConfig }) => HostConfig.ReadonlyRootfs },
  {
    id: "5.14",
    title: "published at one address",
    holds: (container, { published }) =>
      bindings(container).every(({ HostIp }) => HostIp !== "0.0.0.0" && HostIp === published?.split(":")[0]),
  },
  {
    // The benchmark wants on-failure with five tries: then a site would stay down after a power cut.
    id: "5.15",
    title: "comes back by itself",
    holds: ({ HostConfig }) => HostConfig.RestartPolicy.Name === "always",
  },
  { id: "5.16", title: "its own processes", holds: ({ HostConfig }) => HostConfig.PidMode === "" },
  { id: "5.17", title: "its own IPC", holds: ({ HostConfig }) => /^(?:private|none)$/.test(HostConfig.IpcMode) },
  {
    id: "5.18",
    title: "no device",
    holds: ({ HostConfig: { Devices, DeviceRequests, DeviceCgroupRules } }) =>
      isEmpty(Devices) && isEmpty(DeviceRequests) && isEmpty(DeviceCgroupRules),
  },
  { id: "5.19", title: "the engine's ulimits", holds: ({ HostConfig }) => isEmpty(HostConfig.Ulimits) },
  {
    id: "5.20",
    title: "no mount spreads to the host",
    holds: ({ Mounts }) => Mounts.every(({ Propagation }) => !Propagation.includes("shared")),
  },
  { id: "5.21", title: "its own host name", holds: ({ HostConfig }) => HostConfig.UTSMode === "" },
  {
    id: "5.22",
    title: "the engine's seccomp profile and hidden paths",
    holds: ({ HostConfig: { SecurityOpt, MaskedPaths, ReadonlyPaths } }) =>
      (SecurityOpt ?? []).every((option) => !/^(?:seccomp|systempaths|apparmor|label)[=:]/.test(option)) &&
      !isEmpty(MaskedPaths) &&
      !isEmpty(ReadonlyPaths),
  },
  { id: "5.25", title: "the engine's control group", holds: ({ HostConfig }) => HostConfig.CgroupParent === "" },
  {
    id: "5.26",
    title: "no new privileges",
    holds: ({ HostConfig }) => (HostConfig.SecurityOpt ?? []).includes("no-new-privileges:true"),
  },
  {
    id: "5.27",
    title: "a health check, or a reason why not",
    holds: ({ Config }, { withoutHealthCheck }) =>
      withoutHealthCheck !== undefined || Config.Healthcheck?.Test?.[0] === "CMD",
  },
  {
    id: "5.28",
    title: "its image by digest",
    holds: ({ Config }) => /@sha256:[0-9a-f]{64}$/.test(Config.Image),
  },
  { id: "5.29", title: "processes are limited", holds: ({ HostConfig }) => (HostConfig.PidsLimit ?? 0) > 0 },
  {
    id: "5.30",
    title: "not in docker0's network",
    holds: ({ HostConfig, NetworkSettings }) =>
      !/^(?:default|bridge)$/.test(HostConfig.NetworkMode) && !("bridge" in NetworkSettings.Networks),
  },
  {
    id: "5.31",
    title: "not in the host's user namespace by wish",
    holds: ({ HostConfig }) => HostConfig.UsernsMode === "",
  },
  {
    id: "5.32",
    title: "no socket of an engine",
    holds: ({ Mounts }) => Mounts.every(({ Source }) => !/\.sock$|^\/(?:var\/)?run(?:\/docker)?\/?$/.test(Source)),
  },
  {
    // Not in the benchmark.
    id: "tmpfs",
    title: "writable memory file systems run and elevate nothing",
    holds: ({ HostConfig }) =>
      Object.values(HostConfig.Tmpfs ?? {}).every((options) =>
        ["size=", "noexec", "nosuid", "nodev"].every((option) => options.includes(option)),
      ),
  },
];

const HARDENING = "test/e2e/hardening.test.ts";

/** The rest of both sections: what else asserts it, or why it does not apply. */
export const ELSEWHERE: Readonly<Record<string, { readonly title: string; readonly how: string }>> = {
  "4.2": { title: "trusted base images", how: "`verify`: signed provenance names every input by digest" },
  "4.3": { title: "no needless packages", how: "`test/e2e/images.test.ts`: each image's packages are its recipe's" },
  "4.4": {
    title: "images are scanned and rebuilt",
    how: "`sealift verify` by a policy with `scan` ([policy.md](policy.md)); `sealift bundle rebuild`",
  },
  "4.5": {
    title: "content trust of Docker",
    how: "does not apply: nothing is pulled from a registry; `verify` checks cosign's signatures before the engine sees an image",
  },
  "4.6": { title: "a health check in the image", how: "does not apply: it is in the Compose file, see 5.27" },
  "4.7": {
    title: "no update instruction by itself",
    how: "does not apply: there is no Dockerfile; packages are locked by digest",
  },
  "4.8": {
    title: "no setuid or setgid file",
    how: `\`${HARDENING}\`: no file of any container has the bit; 5.26 besides`,
  },
  "4.9": { title: "COPY, not ADD", how: "does not apply: there is no Dockerfile; a recipe fetches nothing" },
  "4.11": {
    title: "verified packages only",
    how: "`bundle build` takes Debian packages by the archive's signature and the lock's digests",
  },
  "4.12": { title: "signed artifacts are validated", how: "`verify`, again before each use on the site" },
  "5.1": { title: "no swarm", how: `\`${HARDENING}\`, asked of the engine` },
  "5.2": {
    title: "AppArmor",
    how: `\`${HARDENING}\`: docker-default where the kernel has AppArmor; 5.22 finds one that is turned off`,
  },
  "5.3": {
    title: "SELinux",
    how: "not checked: no kernel with SELinux was at hand; 5.22 finds an option that turns it off",
  },
  "5.7": { title: "no SSH server inside", how: `\`${HARDENING}\`, from /proc` },
  "5.23": {
    title: "no privileged `docker exec`",
    how: "does not apply: it is what people do; Sealift's own asks for neither",
  },
  "5.24": { title: "no `docker exec` as root", how: "does not apply: as 5.23" },
};

/** Ids and titles of the rules that do not hold. */
export function brokenRules(container: InspectedContainer, expected: Expected): string[] {
  return CONTAINER_RULES.filter((rule) => !rule.holds(container, expected)).map(({ id, title }) => `${id} ${title}`);
}

function isPlainUser(user: string): boolean {
  return /^[1-9][0-9]*(?::[1-9][0-9]*)?$/.test(user);
}

function bindings({ HostConfig }: InspectedContainer): readonly PortBinding[] {
  return Object.values(HostConfig.PortBindings ?? {}).flatMap((all) => all ?? []);
}
