-- Tenants, their roles and keys, and the token with which Postgres itself keeps tenants apart.
--
-- The role gateway is what the running service has. It reaches a tenant's rows only in a transaction whose
-- setting app.token holds a token that app.login made a short time ago; app.tenant_id() verifies it with a
-- key that no role but the owner can read. So it is Postgres that keeps tenants apart: a service that was
-- taken over sees the tenants whose live keys or tokens it holds, and no other.

CREATE EXTENSION pgcrypto WITH SCHEMA app;

GRANT USAGE ON SCHEMA app TO gateway;
GRANT SELECT ON app.schema_migration TO gateway;

-- Keys of tokens; app.login makes them. Unlogged, so that none is in the write-ahead log, in a replica or in
-- a dump made with --no-unlogged-table-data; after a crash or a restore it is empty and the next login fills
-- it again.
CREATE UNLOGGED TABLE app.token_key (
  id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  secret bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- The last part of a token: the message authentication code of the others, in hexadecimal.
CREATE FUNCTION app.token_mac(tenant uuid, expires bigint, key_id uuid, secret bytea) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(app.hmac(
    convert_to('sealift tenant token v1|' || tenant::text || '|' || expires::text || '|' || key_id::text, 'UTF8'),
    secret, 'sha256'), 'hex')
$$;
REVOKE ALL ON FUNCTION app.token_mac(uuid, bigint, uuid, bytea) FROM PUBLIC;

-- The tenant that the transaction's token names; null without a token, and for one that is malformed,
-- expired or forged. It never fails: a failure would tell something.
CREATE FUNCTION app.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  token text := current_setting('app.token', true);
  parts text[];
  tenant uuid;
  key_id uuid;
  secret bytea;
BEGIN
  -- Split and checked by parts: one regular expression for all of it would take a hundred times as long.
  IF token IS NULL OR length(token) > 200 THEN
    RETURN NULL;
  END IF;
  parts := string_to_array(token, '.');
  IF cardinality(parts) <> 5 OR parts[1] <> 'v1' OR NOT pg_input_is_valid(parts[2], 'uuid')
     OR length(parts[3]) > 12 OR parts[3] !~ '^[0-9]+$' OR NOT pg_input_is_valid(parts[4], 'uuid') THEN
    RETURN NULL;
  END IF;
  tenant := parts[2]::uuid;
  key_id := parts[4]::uuid;
  IF parts[3]::bigint <= extract(epoch FROM clock_timestamp()) THEN
    RETURN NULL;
  END IF;
  SELECT k.secret INTO secret FROM app.token_key k WHERE k.id = key_id;
  IF secret IS NULL THEN
    RETURN NULL;
  END IF;
  -- Hashes with the key are compared, so that how long the comparison takes tells nothing about the code.
  IF sha256(secret || convert_to(parts[5], 'UTF8'))
     = sha256(secret || convert_to(app.token_mac(tenant, parts[3]::bigint, key_id, secret), 'UTF8')) THEN
    RETURN tenant;
  END IF;
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION app.tenant_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.tenant_id() TO gateway;

CREATE TABLE app.tenant (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- What a principal may do is a matter of its role.
CREATE TABLE app.role (
  tenant_id uuid NOT NULL REFERENCES app.tenant,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  PRIMARY KEY (tenant_id, name)
);

-- The models that a role may use, by the exact name. No row, no model.
CREATE TABLE app.role_model (
  tenant_id uuid NOT NULL,
  role text NOT NULL,
  model text NOT NULL CHECK (model ~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$'),
  PRIMARY KEY (tenant_id, role, model),
  FOREIGN KEY (tenant_id, role) REFERENCES app.role (tenant_id, name)
);

CREATE TABLE app.principal (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES app.tenant,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  role text NOT NULL,
  active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tenant_id, name),
  UNIQUE (tenant_id, id),
  FOREIGN KEY (tenant_id, role) REFERENCES app.role (tenant_id, name)
);

-- An API key. `hash` is SHA-256 of what a login presents, which is HMAC-SHA-256 of the key with a pepper
-- that is not in the database: a stolen dump holds nothing that can be presented.
CREATE TABLE app.api_key (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL,
  principal_id uuid NOT NULL,
  prefix text NOT NULL UNIQUE CHECK (prefix ~ '^[a-z2-7]{12}$'),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  capabilities text[] NOT NULL CHECK (array_ndims(capabilities) = 1 AND array_position(capabilities, NULL) IS NULL),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  -- The day of the last login, kept to a day: a write for each request would be too much.
  last_used_at timestamptz,
  UNIQUE (tenant_id, id),
  FOREIGN KEY (tenant_id, principal_id) REFERENCES app.principal (tenant_id, id)
);
CREATE INDEX api_key_principal ON app.api_key (tenant_id, principal_id);

ALTER TABLE app.tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.tenant FORCE ROW LEVEL SECURITY;
ALTER TABLE app.role ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.role FORCE ROW LEVEL SECURITY;
ALTER TABLE app.role_model ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.role_model FORCE ROW LEVEL SECURITY;
ALTER TABLE app.principal ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.principal FORCE ROW LEVEL SECURITY;
ALTER TABLE app.api_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.api_key FORCE ROW LEVEL SECURITY;

-- (SELECT …): once for a statement, not once for each row.
CREATE POLICY own_tenant ON app.tenant TO gateway USING (id = (SELECT app.tenant_id()));
CREATE POLICY own_tenant ON app.role TO gateway USING (tenant_id = (SELECT app.tenant_id()));
CREATE POLICY own_tenant ON app.role_model TO gateway USING (tenant_id = (SELECT app.tenant_id()));
CREATE POLICY own_tenant ON app.principal TO gateway USING (tenant_id = (SELECT app.tenant_id()));
CREATE POLICY own_tenant ON app.api_key TO gateway USING (tenant_id = (SELECT app.tenant_id()));

-- The owner makes tenants and keys, and app.login reads them in its name. FORCE would keep it out.
CREATE POLICY administration ON app.tenant TO gateway_owner USING (true);
CREATE POLICY administration ON app.role TO gateway_owner USING (true);
CREATE POLICY administration ON app.role_model TO gateway_owner USING (true);
CREATE POLICY administration ON app.principal TO gateway_owner USING (true);
CREATE POLICY administration ON app.api_key TO gateway_owner USING (true);

-- The service reads what its tenant may know, and nobody's hash.
GRANT SELECT ON app.tenant, app.role, app.role_model, app.principal TO gateway;
GRANT SELECT (id, tenant_id, principal_id, prefix, capabilities, created_at, expires_at, revoked_at, last_used_at)
  ON app.api_key TO gateway;

-- A token for `tenant` until `expires`, with the newest key; makes a key a day and forgets those whose
-- tokens have all expired.
CREATE FUNCTION app.make_token(tenant uuid, expires timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seconds bigint := floor(extract(epoch FROM expires));
  key app.token_key;
BEGIN
  SELECT * INTO key FROM app.token_key WHERE created_at > clock_timestamp() - interval '1 day'
    ORDER BY created_at DESC LIMIT 1;
  IF NOT FOUND THEN
    DELETE FROM app.token_key WHERE created_at <= clock_timestamp() - interval '2 days';
    -- Two at once make two keys; both count.
    INSERT INTO app.token_key (secret) VALUES (app.gen_random_bytes(32)) RETURNING * INTO key;
  END IF;
  RETURN 'v1.' || tenant::text || '.' || seconds::text || '.' || key.id::text || '.'
    || app.token_mac(tenant, seconds, key.id, key.secret);
END
$$;
REVOKE ALL ON FUNCTION app.make_token(uuid, timestamptz) FROM PUBLIC;

-- Who holds the key with this prefix whose HMAC is `presented`, and a token for the tenant, good for
-- fifteen minutes at most. No row where there is no such key, or where it, its principal or its tenant no
-- longer counts; which of these it was is not told.
CREATE FUNCTION app.login(key_prefix text, presented bytea) RETURNS TABLE (
  tenant_id uuid, tenant_name text, principal_id uuid, principal_name text, role text, models text[],
  key_id uuid, capabilities text[], token text, token_expires_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  held app.api_key;
BEGIN
  SELECT k.* INTO held
    FROM app.api_key k
    JOIN app.principal p ON p.id = k.principal_id AND p.active
    JOIN app.tenant t ON t.id = k.tenant_id AND t.active
    WHERE k.prefix = key_prefix AND k.hash = sha256(presented)
      AND k.revoked_at IS NULL AND k.expires_at > clock_timestamp();
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF held.last_used_at IS NULL OR held.last_used_at < clock_timestamp() - interval '1 day' THEN
    UPDATE app.api_key k SET last_used_at = clock_timestamp() WHERE k.id = held.id;
  END IF;
  token_expires_at := least(held.expires_at, clock_timestamp() + interval '15 minutes');
  RETURN QUERY
    SELECT t.id, t.name, p.id, p.name, p.role,
      ARRAY(SELECT m.model FROM app.role_model m WHERE m.tenant_id = t.id AND m.role = p.role ORDER BY m.model),
      held.id, held.capabilities, app.make_token(t.id, login.token_expires_at), login.token_expires_at
    FROM app.principal p JOIN app.tenant t ON t.id = p.tenant_id
    WHERE p.id = held.principal_id;
END
$$;
REVOKE ALL ON FUNCTION app.login(text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.login(text, bytea) TO gateway;
