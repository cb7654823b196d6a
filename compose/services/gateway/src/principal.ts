/** Who asks. */
export interface Principal {
  readonly tenantId: string;
  readonly principalId: string;
  readonly role: string;
  readonly keyId: string;
  readonly capabilities: readonly string[];
  /** The exact names of the models that the role may use. */
  readonly models: readonly string[];
}

export interface KeyDirectory {
  /** Whose key this is; undefined if it is nobody's or counts no longer. Rejects if that cannot be known now. */
  login(prefix: string, presented: Buffer): Promise<Principal | undefined>;
}
