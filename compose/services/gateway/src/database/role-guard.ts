/**
 * Refuses a database role that row-level security would not hold: with such a role every tenant's rows lie
 * open, and nothing else would tell. Asked on each new connection, so that no query ever runs as one.
 */
import { SettingsError } from "@sealift/service-kit/settings.ts";
import type pg from "pg";

/** What a service role must not be, in the words of the log. */
const QUESTIONS: Readonly<Record<string, string>> = {
  superuser: "is a superuser",
  bypasses: "has BYPASSRLS",
  administers: "may create roles or databases, or replicate",
  member: "is a member of another role",
  owns: "owns something",
  creates: "may create tables or schemas",
  unprotected: "can reach a table of the schema app without forced row-level security",
};

const QUERY = `
  SELECT
    r.rolsuper AS superuser,
    r.rolbypassrls AS bypasses,
    r.rolcreaterole OR r.rolcreatedb OR r.rolreplication AS administers,
    EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid) AS member,
    EXISTS (SELECT FROM pg_catalog.pg_shdepend d
      WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o') AS owns,
    pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CREATE, TEMPORARY') OR EXISTS (
      SELECT FROM pg_catalog.pg_namespace n
      WHERE pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')) AS creates,
    EXISTS (SELECT FROM pg_catalog.pg_class c
      WHERE c.relnamespace = pg_catalog.to_regnamespace('app') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND c.relname <> 'schema_migration' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
        AND (pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
          OR pg_catalog.has_any_column_privilege(r.oid, c.oid, 'SELECT'))) AS unprotected
  FROM pg_catalog.pg_roles r WHERE r.rolname = SESSION_USER`;

/** @throws SettingsError with everything that is wrong with the role of this connection. */
export async function refuseUnsafeRole(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<Record<string, boolean>>(QUERY);
  const [answers] = rows;
  const problems = Object.entries(QUESTIONS).flatMap(([name, words]) =>
    answers?.[name] === false ? [] : [`the database role ${words}`],
  );
  if (problems.length > 0) throw new SettingsError(problems);
}
