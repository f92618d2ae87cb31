// The settings of a run: names, labels, ranges and defaults. Shared by the page and its worker.

// Name -> [label, lowest, highest, default]; whole numbers, except for the learning rate.
export const FIELDS = {
  n_layer: ["Layers", 1, 8, 1],
  n_embd: ["Width", 1, 256, 16],
  n_head: ["Attention heads", 1, 64, 4],
  block_size: ["Longest sequence", 1, 512, 16],
  num_steps: ["Steps", 1, 100_000, 1000],
  batch_size: ["Documents per step", 1, 256, 1],
  learning_rate: ["Learning rate", 1e-9, 1e3, 0.01],
  seed: ["Random seed", 0, 9e15, 42],
};

export const SETTINGS = {
  ...Object.fromEntries(Object.entries(FIELDS).map(([name, field]) => [name, field[3]])),
  beta1: 0.85,
  beta2: 0.99,
  eps_adam: 1e-8,
  init_std: 0.08,
};

// The defaults with these settings instead, or a RangeError that names the setting and its range.
export function checked(settings) {
  const config = { ...SETTINGS, ...settings };
  for (const [name, [, lowest, highest]] of Object.entries(FIELDS)) {
    const value = config[name];
    if (name !== "learning_rate" && !Number.isInteger(value))
      throw new RangeError(`${name} must be a whole number`);
    if (!(value >= lowest && value <= highest))
      throw new RangeError(`${name} must be from ${lowest} to ${highest}`);
  }
  if (config.n_embd % config.n_head) throw new RangeError("n_embd must be a multiple of n_head");
  return config;
}
