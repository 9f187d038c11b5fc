/** A sentence for the user: this tokenizer would give other ids here than where the model was made. */
export function refuse(what) {
  throw new Error(
    `This model's tokenizer uses ${what}, which the app cannot read exactly; choose another model.`,
  );
}

/** Refuse a part of tokenizer.json whose fields are not among those that are known to behave as in Python. */
export function allowOnly(part, fields) {
  for (const [name, value] of Object.entries(part)) {
    const allowed = fields[name];
    if (allowed !== undefined && !allowed.includes(value)) {
      refuse(`${part.type} with ${name} ${JSON.stringify(value)}`);
    }
  }
}
