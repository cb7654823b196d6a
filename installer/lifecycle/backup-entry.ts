/** The ledger's word that a backup was made: nobody authorizes it, because it changes nothing. */
export const BACKUP_MADE = "backup-made";
