#include "options.h"

namespace edge_runner {

const char* const kUsage =
    "usage: lowbit_runner --model FILE.pte --tokens 1,2,3 [options]\n"
    "       lowbit_runner --model FILE.pte --benchmark [options]\n"
    "Continues the prompt and prints the new token ids to stdout, separated by commas, the end token\n"
    "included, and a line of statistics (PyTorchObserver {json}) to stderr. Checks that the program is\n"
    "well formed, not its manifest: export.verify does that. Bad input: one sentence, exit code 2.\n"
    "  --threads N         threads, this one included (default: ExecuTorch's choice)\n"
    "  --etdump FILE       write a trace of every operator for executorch.devtools.Inspector; slower\n"
    "with --tokens:\n"
    "  --max-new-tokens N  at most this many (default 32)\n"
    "  --eos ID            the end token (default: the program's)\n"
    "  --logits FILE       write the logits behind every new token, float32 [tokens, vocabulary]\n"
    "  --temperature T     0: the likeliest token (default); above: draw, flatter for larger T\n"
    "  --top-k K           draw from the K likeliest tokens (default 0: all)\n"
    "  --top-p P           draw from the likeliest that together reach this probability (default 1)\n"
    "  --seed S            equal seeds and logits give equal ids on every platform (default 0)\n"
    "with --benchmark:\n"
    "  --prompt-length N   pseudo-random prompt (default 128)\n"
    "  --generate N        tokens decoded and timed per run (default 64)\n"
    "  --context N         tokens in the KV cache before the first of them (default: prompt length)\n"
    "  --warmup N          runs that do not count (default 1)\n"
    "  --runs N            runs that do (default 3)\n"
    "--benchmark prints one JSON object:\n"
    "  model, model_bytes, threads, prompt_length, generate, context, warmup_runs, runs: what ran\n"
    "  kernel: the low-bit kernel chosen; traced: true with --etdump, whose times are no headline\n"
    "  load_ms: from the start of loading until the program can run\n"
    "  time_to_first_token_ms: from the start of loading until the prompt's next token, nothing warm\n"
    "  prefill_tokens_per_second, decode_tokens_per_second, decode_ms_per_token_p50, _p90: per run\n"
    "  memory: peak_resident_bytes (VmHWM), and after the runs anonymous_bytes (heap, KV cache,\n"
    "    activations), file_bytes (model_file_bytes of them are the model's pages, the rest code);\n"
    "    before_load_anonymous_bytes, before_load_file_bytes: the process without a model;\n"
    "    planned_bytes: KV cache and activations at the longest prompt, of which only used pages count\n";

}  // namespace edge_runner
