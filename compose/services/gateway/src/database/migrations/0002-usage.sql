-- What each key used of each model on each day (UTC): sums, nothing about single requests.
CREATE TABLE app.usage (
  tenant_id uuid NOT NULL REFERENCES app.tenant,
  day date NOT NULL,
  key_id uuid NOT NULL,
  model text NOT NULL,
  requests bigint NOT NULL CHECK (requests >= 0),
  input_tokens bigint NOT NULL CHECK (input_tokens >= 0),
  output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
  PRIMARY KEY (tenant_id, day, key_id, model),
  FOREIGN KEY (tenant_id, key_id) REFERENCES app.api_key (tenant_id, id)
);

ALTER TABLE app.usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.usage FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON app.usage TO gateway USING (tenant_id = (SELECT app.tenant_id()));
GRANT SELECT, INSERT, UPDATE ON app.usage TO gateway;
