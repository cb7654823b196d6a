/**
 * The one library that Node needs and that small hosts lack: libatomic. The launcher uses the kit's only where
 * the host has none of its own.
 */
import type { DebianInput } from "../model/appliance.ts";
import { unpackDeb } from "../source/recipe/deb.ts";
import { kitError } from "./error.ts";
import type { KitFile } from "./kit-files.ts";

/** What is taken from each: the library, and the copyright file that its licence asks us to pass on. */
const PICKS: readonly (readonly [name: string, inPackage: RegExp, inKit: string])[] = [
  ["libatomic1", /^usr\/lib\/[^/]+\/libatomic\.so\.1\.2\.0$/, "lib/libatomic.so.1"],
  ["gcc-12-base", /^usr\/share\/doc\/gcc-12-base\/copyright$/, "lib/libatomic.copyright"],
];

/**
 * The files by their place in the kit. `inputs` are both packages, which `fetched` gives as files.
 * @throws KIT_SOURCE_REFUSED, and what `fetched` and `unpackDeb` throw
 */
export async function hostLibraries(
  inputs: readonly DebianInput[],
  fetched: (input: DebianInput) => Promise<string>,
  spool: string,
): Promise<Map<string, KitFile>> {
  const files = new Map<string, KitFile>();
  for (const [name, inPackage, inKit] of PICKS) {
    const input = inputs.find((one) => one.package === name);
    if (!input) throw kitError("KIT_SOURCE_REFUSED", `no package ${name} in the lock`);
    const { tar, members } = await unpackDeb(await fetched(input), input, spool);
    const member = members.find((one) => one.type === "file" && inPackage.test(one.path));
    if (!member) throw kitError("KIT_SOURCE_REFUSED", `${name} ${input.version}: no file ${inPackage.source} in it`);
    const content = { file: tar, position: member.position, size: member.size };
    files.set(inKit, { type: "file", mode: 0o644, uid: 0, gid: 0, content });
  }
  return files;
}
