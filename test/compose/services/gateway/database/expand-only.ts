/**
 * What a migration may do: only add, so that the release before works on the schema too, and only what takes
 * no long lock. The list is closed; whatever is not on it is a problem. It reads statements, not what the
 * bodies of functions do.
 */

/** Problems of one migration, one line each; `existing` are the tables that the migrations before it made. */
export function expandOnlyProblems(sql: string, existing: ReadonlySet<string> = new Set()): string[] {
  const statements = splitStatements(sql);
  const own = new Set(statements.flatMap((statement) => tablesMade(statement)));
  const problems = statements.flatMap((statement) => {
    const problem = problemOf(statement, own, existing);
    return problem === undefined ? [] : [`${problem}: ${statement.slice(0, 80)}`];
  });
  return [...problems, ...unprotectedTables(statements), ...openFunctions(statements)];
}

/** The tables of the schema app that a migration makes. */
export function tablesOf(sql: string): string[] {
  return splitStatements(sql).flatMap(tablesMade);
}

/**
 * Statements in capitals, without comments, with one blank between words, and with '' for whatever stands
 * between quotes or dollar signs.
 */
export function splitStatements(sql: string): string[] {
  const plain = sql.replace(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|\$([A-Za-z_]*)\$[\s\S]*?\$\1\$/g, (found) =>
    found.startsWith("--") || found.startsWith("/*") ? " " : "''",
  );
  return plain
    .split(";")
    .map((statement) => statement.replace(/\s+/g, " ").trim().toUpperCase())
    .filter((statement) => statement !== "");
}

const NAME = "([A-Z_]+\\.[A-Z_]+)";

function tablesMade(statement: string): string[] {
  const name = new RegExp(`^CREATE (?:UNLOGGED )?TABLE ${NAME} \\(`).exec(statement)?.[1];
  return name === undefined ? [] : [name];
}

function problemOf(statement: string, own: ReadonlySet<string>, existing: ReadonlySet<string>): string | undefined {
  const table = new RegExp(
    `(?:^ALTER TABLE|^CREATE (?:UNIQUE )?INDEX [A-Z_]+ ON|^CREATE POLICY [A-Z_]+ ON) ${NAME}`,
  ).exec(statement)?.[1];
  if (table !== undefined && own.has(table)) return undefined;
  if (table !== undefined && !existing.has(table)) return "of no migration";
  if (/^CREATE (?:UNLOGGED )?TABLE /.test(statement)) {
    return tablesMade(statement).length === 1 ? undefined : "want CREATE TABLE schema.name (";
  }
  if (/^(?:CREATE EXTENSION|CREATE FUNCTION|GRANT|COMMENT ON|INSERT INTO) /.test(statement)) return undefined;
  if (/^REVOKE ALL ON FUNCTION .* FROM PUBLIC$/.test(statement)) return undefined;
  if (/^CREATE (?:UNIQUE )?INDEX /.test(statement)) return "an index on a table that has rows stops all writes to it";
  if (/^CREATE POLICY /.test(statement)) {
    return statement.includes(" AS RESTRICTIVE ") ? "hides rows from the release before" : undefined;
  }
  if (/^ALTER TABLE \S+ ADD COLUMN /.test(statement)) return columnProblem(statement);
  return "not on the list of what only adds";
}

function columnProblem(statement: string): string | undefined {
  if (statement.includes(",")) return "one column a statement";
  if (/ (?:UNIQUE|PRIMARY KEY|REFERENCES|CHECK|GENERATED)\b/.test(statement))
    return "a new rule for rows that are there";
  const value = / DEFAULT (\S+)/.exec(statement)?.[1];
  if (value === undefined && / NOT NULL\b/.test(statement)) return "NOT NULL without a DEFAULT";
  // A function as a default could rewrite the whole table.
  if (value !== undefined && !/^(?:''|-?\d+|TRUE|FALSE)$/.test(value)) return "a DEFAULT that is no plain value";
  return undefined;
}

/** Tables with a tenant in them that this migration leaves open. */
function unprotectedTables(statements: readonly string[]): string[] {
  return statements.flatMap((statement) => {
    const [table] = tablesMade(statement);
    if (table === undefined || !/\bTENANT_ID\b/.test(statement)) return [];
    const has = (start: string): boolean => statements.some((other) => other.startsWith(start));
    const needs = [`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`, `ALTER TABLE ${table} FORCE ROW LEVEL SECURITY`];
    const missing = needs.filter((need) => !has(need));
    if (!statements.some((other) => new RegExp(`^CREATE POLICY [A-Z_]+ ON ${table} `).test(other)))
      missing.push("a policy");
    return missing.map((need) => `${table} lacks ${need}`);
  });
}

/** Functions that anybody may call, or that run as their owner with names looked up as the caller wants. */
function openFunctions(statements: readonly string[]): string[] {
  return statements.flatMap((statement) => {
    const name = new RegExp(`^CREATE FUNCTION ${NAME}`).exec(statement)?.[1];
    if (name === undefined) return [];
    const closed = statements.some((other) => other.startsWith(`REVOKE ALL ON FUNCTION ${name}(`));
    const pinned = statement.includes(" SET SEARCH_PATH = PG_CATALOG, PG_TEMP");
    return [
      ...(closed ? [] : [`${name} may be called by PUBLIC`]),
      ...(pinned ? [] : [`${name} has no search_path of its own`]),
    ];
  });
}
