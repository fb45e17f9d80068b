/* cmd/options.c - the option table. Parsing, help and suggestions all read it. */
#include "cmd/cli.h"

#define WRITERS (GK_CMD_CONVERT | GK_CMD_QUANTIZE)
#define PASSES  (GK_CMD_EVAL | GK_CMD_CALIBRATE) /* those that run the forward pass */

static const gk_option options[GK_N_OPTS] = {
    [GK_OPT_TENSORS] = {
        .name = "tensors", .kind = GK_KIND_STRING, .metavar = "REGEX",
        .commands = GK_CMD_INSPECT | GK_CMD_HASH | GK_CMD_COMPARE,
        .help = "only tensors whose name the PCRE2 regex is found in",
    },
    [GK_OPT_PARTS] = {
        .name = "parts", .commands = GK_CMD_INSPECT,
        .help = "list every stored piece: file, offset, bytes",
    },
    [GK_OPT_CONFIG] = {
        .name = "config", .commands = GK_CMD_INSPECT,
        .help = "print config.json as it is stored",
    },
    [GK_OPT_BOM] = {
        .name = "bom", .commands = GK_CMD_INSPECT,
        .help = "print a CycloneDX 1.6 ML-BOM: the model, its files, digests that lists beside it "
                "state",
    },
    [GK_OPT_CHECK] = {
        .name = "check", .letter = 'c', .kind = GK_KIND_STRING, .metavar = "FILE",
        .commands = GK_CMD_HASH,
        .help = "verify what FILE lists: lines 'HEX  NAME', a manifest of llama-gguf-hash, a "
                "grokkit.json ('-' is standard input); or, of a folder, its lists, what Hugging "
                "Face's downloader noted, Git LFS pointers",
    },
    [GK_OPT_GGUF_HASH] = {
        .name = "gguf-hash", .commands = GK_CMD_HASH,
        .help = "print what llama-gguf-hash --sha256 prints: entries as the file names them",
    },
    [GK_OPT_SIGN] = {
        .name = "sign", .kind = GK_KIND_STRING, .metavar = "KEY.pem", .commands = GK_CMD_HASH,
        .help = "sign all files (OpenSSF Model Signing 1.0) with a private key on P-256, P-384 or "
                "P-521, into the file that --signature names",
    },
    [GK_OPT_SIGNATURE] = {
        .name = "signature", .kind = GK_KIND_STRING, .metavar = "FILE",
        .commands = GK_CMD_AUDIT | GK_CMD_HASH,
        .help = "verify that signature of MODEL (OpenSSF Model Signing 1.0), and all files by it",
    },
    [GK_OPT_PUBLIC_KEY] = {
        .name = "public-key", .kind = GK_KIND_STRING, .metavar = "PEM",
        .commands = GK_CMD_AUDIT | GK_CMD_HASH, .help = "who must have made the signature",
    },
    [GK_OPT_CERTIFICATES] = {
        .name = "certificates", .kind = GK_KIND_STRING, .metavar = "PEM",
        .commands = GK_CMD_AUDIT | GK_CMD_HASH,
        .help = "certificates to trust: the signature's own must lead to one of them",
    },
    [GK_OPT_IGNORE_UNSIGNED] = {
        .name = "ignore-unsigned", .commands = GK_CMD_AUDIT | GK_CMD_HASH,
        .help = "files that the signature does not list are no finding",
    },
    [GK_OPT_NO_VALUES] = {
        .name = "no-values", .commands = GK_CMD_AUDIT,
        .help = "headers only: do not read the weights to look for NaN and Inf",
    },
    [GK_OPT_NO_CHECKSUMS] = {
        .name = "no-checksums", .commands = GK_CMD_AUDIT,
        .help = "do not compute and compare the SHA-256 of files",
    },
    [GK_OPT_SUMS] = {
        .name = "sums", .kind = GK_KIND_STRING, .metavar = "FILE", .commands = GK_CMD_AUDIT,
        .help = "compare with what FILE lists (see grokkit hash --check); default: all lists that "
                "lie with MODEL",
    },
    [GK_OPT_HTML] = {
        .name = "html", .kind = GK_KIND_STRING, .metavar = "FILE",
        .commands = GK_CMD_AUDIT | GK_CMD_EVAL | GK_CMD_COMPARE,
        .help = "also write the report as one HTML page",
    },
    [GK_OPT_STRICT] = {
        .name = "strict", .commands = GK_CMD_AUDIT | GK_CMD_QUANTIZE,
        .help = "audit: notes count, too; quantize: exit 6 when no group of the scheme divides a "
                "width",
    },
    [GK_OPT_KEEP_GOING] = {
        .name = "keep-going", .commands = GK_CMD_AUDIT,
        .help = "a tensor that cannot be read is a finding; go on with the others",
    },
    [GK_OPT_TO] = {
        .name = "to", .kind = GK_KIND_STRING, .metavar = "FORMAT", .commands = WRITERS,
        .help = "what to write; convert: hf (merged safetensors) or gguf; quantize: "
                "compressed-tensors (vLLM, SGLang), fp8 (the same, FP8 only), gptq, awq, mlx or "
                "gguf (llama.cpp)",
    },
    [GK_OPT_SCHEME] = {
        .name = "scheme", .kind = GK_KIND_STRING, .metavar = "S", .commands = GK_CMD_QUANTIZE,
        .help = "int4 (attention int8-g128, the rest int4-g128), int8 (int8-g128), or one scheme "
                "for all: int4-g32, int4-g128-asym, int8-channel, ..., fp8-channel, fp8-block, "
                "nvfp4, mxfp4; with --to gguf a type or mix of llama.cpp, as Q4_K_M. Without it: "
                "int4, and with --to fp8 fp8-channel, gptq int4-g128, awq int4-g128-asym, mlx "
                "int4-g64, gguf Q4_K_M",
    },
    [GK_OPT_RULE] = {
        .name = "rule", .kind = GK_KIND_STRING, .repeatable = true, .metavar = "REGEX=S",
        .commands = GK_CMD_QUANTIZE,
        .help = "scheme of the tensors whose name (without .weight) the PCRE2 regex is found in; "
                "the first rule that matches wins; may be given again",
    },
    [GK_OPT_RECIPE] = {
        .name = "recipe", .kind = GK_KIND_STRING, .metavar = "FILE", .commands = GK_CMD_QUANTIZE,
        .help = "rules from a file, one 'REGEX = S' a line, after those of --rule",
    },
    [GK_OPT_METHOD] = {
        .name = "method", .kind = GK_KIND_CHOICE, .choice = {"rtn", "search", "gptq"},
        .commands = GK_CMD_QUANTIZE,
        .help = "how integer codes are chosen: scales from the largest value, or by least squared "
                "error; gptq: then code by code for the inputs of calibrate's --stats FILE; FP8, "
                "FP4 and MLX have one rule each",
    },
    [GK_OPT_STATS] = {
        .name = "stats", .kind = GK_KIND_STRING, .metavar = "FILE", .commands = GK_CMD_QUANTIZE,
        .help = "E[x^2] of the inputs of each matrix, which weighs errors: what calibrate made, "
                "or an imatrix of llama.cpp, GGUF or .dat; --scheme Q2_K_S needs it",
    },
    [GK_OPT_HESSIAN_BLOCK] = {
        .name = "hessian-block", .kind = GK_KIND_UINT, .metavar = "N", .min = 1,
        .commands = GK_CMD_QUANTIZE,
        .help = "--method gptq: take columns as independent that are not in one block of N; "
                "without it only where half of --memory cannot hold whole Hessians",
    },
    [GK_OPT_TARGET_SIZE] = {
        .name = "target-size", .kind = GK_KIND_SIZE, .metavar = "SIZE", .min = 1,
        .commands = GK_CMD_QUANTIZE,
        .help = "choose the schemes, so that all files of OUT take SIZE at most and the model is "
                "hurt least, by what calibrate's --stats FILE says of it; what --rule names stays",
    },
    [GK_OPT_TARGET_BPW] = {
        .name = "target-bpw", .kind = GK_KIND_STRING, .metavar = "X",
        .commands = GK_CMD_QUANTIZE,
        .help = "the same, so that what is quantized takes X bits a weight at most (of a GGUF: all "
                "tensors; engines of the others keep embeddings and head)",
    },
    [GK_OPT_GRAIN] = {
        .name = "grain", .kind = GK_KIND_CHOICE, .choice = {"engine", "kind", "matrix"},
        .commands = GK_CMD_QUANTIZE,
        .help = "what is chosen for by itself: what the engine can load differently; one kind of "
                "module in all layers, for SGLang; or every matrix, which only grokkit reads",
    },
    [GK_OPT_SAVE_RECIPE] = {
        .name = "save-recipe", .kind = GK_KIND_STRING, .metavar = "FILE",
        .commands = GK_CMD_QUANTIZE,
        .help = "write what was chosen as rules, which --recipe takes back",
    },
    [GK_OPT_NO_MEASURE] = {
        .name = "no-measure", .commands = GK_CMD_QUANTIZE,
        .help = "with a target: do not measure the divergence of what was written",
    },
    [GK_OPT_DTYPE] = {
        .name = "dtype", .kind = GK_KIND_CHOICE, .choice = {"bf16", "f16", "f32"},
        .commands = WRITERS,
        .help = "dtype of tensors that stay plain; default: as stored",
    },
    [GK_OPT_MAX_SHARD_SIZE] = {
        .name = "max-shard-size", .kind = GK_KIND_SIZE, .metavar = "SIZE", .min = 1,
        .commands = WRITERS,
        .help = "most tensor bytes in a file; a larger module gets a file of its own",
    },
    [GK_OPT_GGUF_ROPE] = {
        .name = "gguf-rope", .kind = GK_KIND_CHOICE, .choice = {"plain", "yarn"},
        .commands = WRITERS,
        .help = "rope keys of a Grok GGUF: none (what SGLang computes, the default), or what "
                "llama.cpp's converter writes",
    },
    [GK_OPT_HASH] = {
        .name = "hash", .kind = GK_KIND_CHOICE, .choice = {"none", "output", "all"},
        .commands = WRITERS, .help = "which files get a SHA-256; default: output",
    },
    [GK_OPT_VERIFY] = {
        .name = "verify", .commands = WRITERS,
        .help = "read the result again and compare it with the input",
    },
    [GK_OPT_NO_ENGINE_CHECK] = {
        .name = "no-engine-check", .commands = GK_CMD_QUANTIZE,
        .help = "allow what no engine is known to load",
    },
    [GK_OPT_DRY_RUN] = {
        .name = "dry-run", .letter = 'n', .commands = WRITERS,
        .help = "print the plan with all sizes and write nothing",
    },
    [GK_OPT_RESUME] = {
        .name = "resume", .commands = WRITERS | PASSES,
        .help = "go on where the same job was interrupted; nothing to go on with: start; eval also "
                "keeps what is done after every layer",
    },
    [GK_OPT_BREAK_LOCK] = {
        .name = "break-lock", .commands = WRITERS | GK_CMD_CALIBRATE,
        .help = "take a lock of OUT whose holder is known to be dead",
    },
    [GK_OPT_FORCE] = {
        .name = "force", .letter = 'f', .commands = WRITERS | GK_CMD_CALIBRATE,
        .help = "replace OUT when it exists, once the new one is complete",
    },
    [GK_OPT_OUTPUT] = {
        .name = "output", .letter = 'o', .kind = GK_KIND_STRING, .metavar = "FILE",
        .commands = GK_CMD_CALIBRATE,
        .help = "the file to write, NAME.gguf; default: MODEL's name and .imatrix.gguf, here",
    },
    [GK_OPT_TOKENS] = {
        .name = "tokens", .kind = GK_KIND_UINT, .metavar = "N", .min = 2,
        .commands = GK_CMD_CALIBRATE, .help = "read the first N tokens at most, in whole windows",
    },
    [GK_OPT_IMATRIX] = {
        .name = "imatrix", .commands = GK_CMD_CALIBRATE,
        .help = "nothing but what llama-imatrix writes: no tokens, no choices of the router, no "
                "inputs of the head",
    },
    [GK_OPT_PROBE_TOKENS] = {
        .name = "probe-tokens", .kind = GK_KIND_UINT, .metavar = "N",
        .commands = GK_CMD_CALIBRATE,
        .help = "tokens that measure how much each kind of matrix minds noise, which --target-size "
                "goes by; default: 8192, 0: none",
    },
    [GK_OPT_TEXT] = {
        .name = "text", .kind = GK_KIND_STRING, .repeatable = true, .metavar = "FILE",
        .commands = GK_CMD_EVAL | GK_CMD_TOKENIZE,
        .help = "the text to read, '-' for standard input; may be given again",
    },
    [GK_OPT_BASE] = {
        .name = "base", .kind = GK_KIND_STRING, .metavar = "MODEL", .commands = GK_CMD_EVAL,
        .help = "also compare with this model: KL divergence, top-1, drift by layer",
    },
    [GK_OPT_ALSO] = {
        .name = "also", .kind = GK_KIND_STRING, .repeatable = true, .metavar = "MODEL",
        .commands = GK_CMD_EVAL,
        .help = "compare this model with --base, too, in the same pass; may be given again",
    },
    [GK_OPT_LOCAL] = {
        .name = "local", .commands = GK_CMD_EVAL,
        .help = "also the error of each layer alone, on the base's inputs: a second pass of the "
                "model's layers",
    },
    [GK_OPT_CTX] = {
        .name = "ctx", .kind = GK_KIND_UINT, .metavar = "N", .min = 2, .max = 1u << 20,
        .commands = PASSES, .help = "tokens in a window",
    },
    [GK_OPT_WINDOWS] = {
        .name = "windows", .kind = GK_KIND_UINT, .metavar = "N", .min = 1,
        .commands = GK_CMD_EVAL, .help = "only the first N windows",
    },
    [GK_OPT_PROTOCOL] = {
        .name = "protocol", .kind = GK_KIND_CHOICE, .choice = {"llama", "paper"},
        .commands = GK_CMD_EVAL,
        .help = "score the second half of each window (llama) or all of it (paper)",
    },
    [GK_OPT_PRESET] = {
        .name = "preset", .kind = GK_KIND_CHOICE,
        .choice = {"sglang", "llama.cpp", "llama.cpp-plain", "vllm", "grok1"},
        .commands = PASSES,
        .help = "compute what this engine computes; the switches below override",
    },
    [GK_OPT_GATE] = {
        .name = "gate", .kind = GK_KIND_STRING, .metavar = "EXPR", .commands = GK_CMD_EVAL,
        .help = "exit 1 unless all hold, as 'kld.mean<=0.02,top1>=0.94'; names are those of "
                "the JSON",
    },
    [GK_OPT_LOGITS] = {
        .name = "logits", .kind = GK_KIND_STRING, .metavar = "FILE.npy", .commands = GK_CMD_EVAL,
        .help = "write the logits of the first window, float32 [T, V]",
    },
    [GK_OPT_TOKEN_IDS] = {
        .name = "token-ids", .kind = GK_KIND_STRING, .metavar = "FILE", .commands = PASSES,
        .help = "one window of ids, separated by white space, in place of a text",
    },
    [GK_OPT_GELU] = {
        .name = "gelu", .kind = GK_KIND_CHOICE, .choice = {"erf", "tanh"},
        .commands = PASSES, .help = "form of the activation",
    },
    [GK_OPT_ROPE] = {
        .name = "rope", .kind = GK_KIND_CHOICE,
        .choice = {"config", "original", "yarn", "yarn_log", "theta_scale"},
        .commands = PASSES, .help = "how positions are scaled",
    },
    [GK_OPT_ROPE_MAGNITUDE] = {
        .name = "rope-magnitude", .kind = GK_KIND_CHOICE, .choice = {"off", "on"},
        .commands = PASSES, .help = "scale rotated q and k by 1 + 0.1 ln(factor)",
    },
    [GK_OPT_RENORM] = {
        .name = "renorm", .kind = GK_KIND_CHOICE, .choice = {"off", "on"},
        .commands = PASSES, .help = "let the weights of the chosen experts sum to 1",
    },
    [GK_OPT_ROUTER_CAP] = {
        .name = "router-cap", .kind = GK_KIND_CHOICE, .choice = {"off", "on"},
        .commands = PASSES, .help = "cap the router's logits before its softmax",
    },
    [GK_OPT_TEMPERATURE] = {
        .name = "temperature", .kind = GK_KIND_CHOICE, .choice = {"off", "on"},
        .commands = PASSES, .help = "scale attention scores by position",
    },
    [GK_OPT_FINAL_ORDER] = {
        .name = "final-order", .kind = GK_KIND_CHOICE, .choice = {"scale-cap", "cap-scale"},
        .commands = PASSES, .help = "order of scale and cap on the logits",
    },
    [GK_OPT_DECODE] = {
        .name = "decode", .letter = 'd', .commands = GK_CMD_TOKENIZE,
        .help = "read ids and write the bytes they stand for",
    },
    [GK_OPT_THREADS] = {
        .name = "threads", .letter = 't', .kind = GK_KIND_UINT, .metavar = "N", .min = 1,
        .max = GK_MAX_THREADS, .commands = GK_CMD_ALL, .help = "default: all CPUs",
    },
    [GK_OPT_MEMORY] = {
        .name = "memory", .kind = GK_KIND_SIZE, .metavar = "SIZE", .min = 1,
        .commands = GK_CMD_ALL,
        .help = "memory to use at most, as 512MiB, 2G or 1.5GB; default: 256 MiB",
    },
    [GK_OPT_SPOOL] = {
        .name = "spool", .kind = GK_KIND_STRING, .metavar = "DIR",
        .commands = GK_CMD_ALL & ~GK_CMD_VERSION,
        .help = "unpack compressed archives and files into a nameless file in DIR; eval: "
                "activations that memory does not hold, and what --resume needs",
    },
    [GK_OPT_PROGRESS] = {
        .name = "progress", .kind = GK_KIND_CHOICE, .choice = {"auto", "always", "never", "json"},
        .commands = GK_CMD_ALL, .help = "on stderr; auto: a line on a terminal",
    },
    [GK_OPT_NO_SANDBOX] = {
        .name = "no-sandbox", .commands = GK_CMD_ALL,
        .help = "keep all rights: to any file, to start programs, to connect",
    },
    [GK_OPT_NO_COLOR] = {
        .name = "no-color", .commands = GK_CMD_ALL, .help = "also NO_COLOR and TERM=dumb",
    },
    [GK_OPT_JSON] = {
        .name = "json", .commands = GK_CMD_ALL, .help = "the result as one JSON document",
    },
    [GK_OPT_QUIET] = {
        .name = "quiet", .letter = 'q', .commands = GK_CMD_ALL, .help = "only results and errors",
    },
    [GK_OPT_VERBOSE] = {
        .name = "verbose", .letter = 'v', .repeatable = true, .commands = GK_CMD_ALL,
        .help = "say more",
    },
    [GK_OPT_HELP] = {
        .name = "help", .letter = 'h', .commands = GK_CMD_ALL, .help = "this text",
    },
};

const gk_option *gk_option_get(gk_opt option)
{
    return &options[option];
}
