import { errorArea } from "../bundles/model/sealift-error.ts";

export const composeError = errorArea({
  COMPOSE_VARIABLE_UNSET: 2,
});
