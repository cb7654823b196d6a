/**
 * The model that an appliance is tried out with: the architecture of a real language model, small, with
 * random weights. It was never trained, so it answers with gibberish, and its metadata says so. It takes the
 * way of every model (carried in the bundle, verified, loaded by the inference server), without a download
 * and without anybody's licence. The same bytes everywhere: only arithmetic that IEEE 754 defines exactly.
 */
import { type GgufTensor, type GgufValue, renderGguf } from "./gguf.ts";

export const TEST_MODEL_NAME = "sealift-test-model";

const SEED = 20_260_501;
const WIDTH = 64;
const LAYERS = 2;
const HEADS = 4;
const FEED_FORWARD = 128;
const CONTEXT_TOKENS = 4_096;

/** How far apart the scores of tokens are: more is more monotonous. */
const LIVELINESS = 1.5;
const NEVER = -1_000;
const SOMETIMES = 2.2;

/** Kinds of tokens, as llama.cpp numbers them. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

interface Token {
  readonly text: string;
  readonly kind: (typeof KIND)[keyof typeof KIND];
  /** Whether the model ever writes it. */
  readonly written: boolean;
}

const BEGIN = 1;
const END = 2;

/** The tokenizer reads every byte; the model writes only syllables, a little punctuation and, now and then, an end. */
function vocabulary(): Token[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const syllables = [..."bdfghjklmnprstvwz"].flatMap((first) => [..."aeiou"].map((second) => first + second));
  // SentencePiece's sign for a space, often, so that there are words.
  const spaces = ["\u2581", ...[..."abcdefghijklmnopqrstuvwxyz"].map((letter) => `\u2581${letter}`)];
  return [
    { text: "<unk>", kind: KIND.unknown, written: false },
    { text: "<s>", kind: KIND.control, written: false },
    { text: "</s>", kind: KIND.control, written: true },
    ...bytes.map((text) => ({ text, kind: KIND.byte, written: false })),
    ...[...syllables, ...spaces, ",", "."].map((text) => ({ text, kind: KIND.normal, written: true })),
  ];
}

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}" +
  "{% if add_generation_prompt %}assistant: {% endif %}";

/** The GGUF file, about half a megabyte. */
export function renderTestModel(): Buffer {
  const tokens = vocabulary();
  return renderGguf(metadata(tokens), tensors(tokens));
}

function metadata(tokens: readonly Token[]): Record<string, GgufValue> {
  const string = (value: string): GgufValue => ({ type: "string", value });
  const number = (value: number): GgufValue => ({ type: "uint32", value });
  return {
    "general.architecture": string("llama"),
    "general.name": string(TEST_MODEL_NAME),
    "general.description": string("A test model with random weights. It was never trained: its answers are gibberish."),
    "general.license": string("apache-2.0"),
    "general.file_type": number(0),
    "llama.block_count": number(LAYERS),
    "llama.context_length": number(CONTEXT_TOKENS),
    "llama.embedding_length": number(WIDTH),
    "llama.feed_forward_length": number(FEED_FORWARD),
    "llama.attention.head_count": number(HEADS),
    "llama.attention.head_count_kv": number(HEADS),
    "llama.attention.layer_norm_rms_epsilon": { type: "float32", value: 1e-5 },
    "llama.rope.dimension_count": number(WIDTH / HEADS),
    "llama.vocab_size": number(tokens.length),
    "tokenizer.ggml.model": string("llama"),
    "tokenizer.ggml.tokens": { type: "strings", value: tokens.map(({ text }) => text) },
    "tokenizer.ggml.scores": { type: "float32s", value: tokens.map(() => 0) },
    "tokenizer.ggml.token_type": { type: "int32s", value: tokens.map(({ kind }) => kind) },
    "tokenizer.ggml.unknown_token_id": number(0),
    "tokenizer.ggml.bos_token_id": number(BEGIN),
    "tokenizer.ggml.eos_token_id": number(END),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: true },
    "tokenizer.ggml.add_space_prefix": { type: "bool", value: false },
    "tokenizer.chat_template": string(CHAT_TEMPLATE),
  };
}

function tensors(tokens: readonly Token[]): GgufTensor[] {
  const next = uniform(SEED);
  const random = (name: string, columns: number, rows: number): GgufTensor => {
    // Keeps the size of what passes through about the same.
    const scale = Math.sqrt(3 / columns);
    const data = Float32Array.from({ length: columns * rows }, () => next() * scale);
    return { name, dimensions: [columns, rows], data };
  };
  const ones = (name: string): GgufTensor => ({ name, dimensions: [WIDTH], data: new Float32Array(WIDTH).fill(1) });
  const layers = Array.from({ length: LAYERS }, (_, layer) => [
    ones(`blk.${layer}.attn_norm.weight`),
    random(`blk.${layer}.attn_q.weight`, WIDTH, WIDTH),
    random(`blk.${layer}.attn_k.weight`, WIDTH, WIDTH),
    random(`blk.${layer}.attn_v.weight`, WIDTH, WIDTH),
    keepingFirst(random(`blk.${layer}.attn_output.weight`, WIDTH, WIDTH)),
    ones(`blk.${layer}.ffn_norm.weight`),
    random(`blk.${layer}.ffn_gate.weight`, WIDTH, FEED_FORWARD),
    random(`blk.${layer}.ffn_up.weight`, WIDTH, FEED_FORWARD),
    keepingFirst(random(`blk.${layer}.ffn_down.weight`, FEED_FORWARD, WIDTH)),
  ]).flat();
  const embedding = random("token_embd.weight", WIDTH, tokens.length);
  const output = random("output.weight", WIDTH, tokens.length);
  for (const [index, { written }] of tokens.entries()) {
    // The first of the hidden numbers is the same for every token and stays positive, so it serves as a
    // constant by which the score of a token can be raised or lowered.
    embedding.data[index * WIDTH] = 1;
    for (let column = 1; column < WIDTH; column += 1) {
      const at = index * WIDTH + column;
      output.data[at] = index === END ? 0 : (output.data[at] ?? 0) * LIVELINESS;
    }
    output.data[index * WIDTH] = !written ? NEVER : index === END ? SOMETIMES : 0;
  }
  return [embedding, ...layers, ones("output_norm.weight"), output];
}

/** The same matrix with a first row of zeros: it adds nothing to the first of the hidden numbers. */
function keepingFirst(tensor: GgufTensor): GgufTensor {
  const [columns = 0] = tensor.dimensions;
  tensor.data.fill(0, 0, columns);
  return tensor;
}

/** mulberry32, as a number from -1 up to 1. */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}
