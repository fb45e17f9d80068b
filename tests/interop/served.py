"""What vLLM 0.24 computes from our directories, beside `eval --preset vllm`.

The merged copy runs as it is, in float32. Quantized ones go through vLLM's own configuration,
matching and loading, too, but its CPU build has no kernel for 8 bit Linear and none for 4 bit
experts with GELU (nor any on a CPU without AVX-512): the two kernels are replaced here by
a product with the decoded weights. A module left unfilled or filled wrongly shows in the
likelihoods.
"""
import os
import traceback

for name, value in (("VLLM_CPU_KVCACHE_SPACE", "1"), ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
                    ("OMP_NUM_THREADS", "2"), ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
                    ("VLLM_NO_USAGE_STATS", "1"), ("HF_HUB_OFFLINE", "1"), ("VLLM_LOGGING_LEVEL", "CRITICAL"),
                    ("TQDM_DISABLE", "1")):
    os.environ.setdefault(name, value)

import numpy as np  # noqa: E402

from common import GOLDEN, TINY, check, golden, grokkit, logits, ref, work, write_ids  # noqa: E402

TOL = 2e-5             # nats, of the mean; a single token may be off by five times that


def fields(words, bits, axis):
    """int32 words -> signed codes, lowest bits first along `axis`"""
    import torch
    u = words.movedim(axis, -1).unsqueeze(-1) >> torch.arange(0, 32, bits, dtype=torch.int32)
    u = (u & ((1 << bits) - 1)).flatten(-2)
    return (u - (1 << (bits - 1))).movedim(-1, axis)


def stand_in_kernels():
    import torch
    import torch.nn.functional as F
    import vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors_moe.\
compressed_tensors_moe_wna16_marlin as moe
    import vllm.model_executor.layers.quantization.compressed_tensors.schemes.\
compressed_tensors_wNa16 as linear
    import vllm.model_executor.layers.fused_moe.router.fused_topk_router as router
    from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearKernel
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUExpertsInt4

    class Product(MPLinearKernel):
        """weight_packed [out, in * bits / 32], weight_scale [out, groups]"""

        @classmethod
        def get_min_capability(cls):
            return -1

        @classmethod
        def can_implement(cls, c):
            return True, None

        def process_weights_after_loading(self, layer):
            packed, scale, _, _ = self._get_weight_params(layer)
            q = fields(packed.data, self.config.weight_type.size_bits, 1).to(scale.dtype)
            layer.decoded = q * scale.data.repeat_interleave(q.shape[1] // scale.shape[1], 1)

        def apply_weights(self, layer, x, bias=None):
            return F.linear(x, layer.decoded, bias)

    class Experts(moe.CompressedTensorsWNA16MarlinMoEMethod):
        """w13_weight_packed [E, in * bits / 32, 2 * out], scales [E, groups, 2 * out]"""

        @property
        def is_monolithic(self):
            return False

        def process_weights_after_loading(self, layer):
            for w in ("w13", "w2"):
                scale = getattr(layer, f"{w}_weight_scale").data
                q = fields(getattr(layer, f"{w}_weight_packed").data, self.num_bits, 1).to(scale.dtype)
                w_t = q * scale.repeat_interleave(q.shape[1] // scale.shape[1], 1)
                setattr(layer, f"{w}_decoded", w_t.transpose(1, 2).contiguous())

        def apply(self, layer, x, topk_weights, topk_ids, **_):
            out = torch.zeros_like(x)
            for e in range(layer.w2_decoded.shape[0]):
                t, slot = torch.nonzero(topk_ids == e, as_tuple=True)
                gate, up = F.linear(x[t], layer.w13_decoded[e]).chunk(2, -1)
                y = F.linear(F.gelu(gate) * up, layer.w2_decoded[e])
                out.index_add_(0, t, y * topk_weights[t, slot].unsqueeze(1).to(y.dtype))
            return out

    def topk_softmax(weights, ids, token_expert_indices, logits, renormalize, *_):
        p = torch.softmax(logits.float(), -1)
        top, at = p.topk(ids.shape[1], -1)
        weights.copy_(top / top.sum(-1, keepdim=True) if renormalize else top)
        ids.copy_(at)
        return weights, ids

    router.vllm_topk_softmax = topk_softmax
    # RoutedExperts passes arguments by the name of the method's class
    Experts.__name__ = moe.CompressedTensorsWNA16MarlinMoEMethod.__name__
    linear.choose_mp_linear_kernel = lambda c, **_: Product
    moe.select_wna16_moe_backend = lambda **_: (moe.WNA16MoEBackend.CPU, CPUExpertsInt4)
    moe.CompressedTensorsWNA16MarlinMoEMethod = Experts


def served(directory, prompts):
    """-> one array of negative log likelihoods a prompt"""
    from vllm import LLM, SamplingParams
    llm = LLM(model=directory, enforce_eager=True, max_model_len=512, dtype="float32", max_num_seqs=2,
              max_num_batched_tokens=512)
    answers = llm.generate([{"prompt_token_ids": list(map(int, p))} for p in prompts],
                           SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, ignore_eos=True),
                           use_tqdm=False)
    return [np.array([-q[i].logprob for q, i in zip(a.prompt_logprobs[1:], p[1:])])
            for a, p in zip(answers, prompts)]


def ours(directory, prompts):
    out = []
    for p in prompts:
        lp = ref.log_softmax(logits(directory, write_ids("prompt.ids", p), "--preset", "vllm"))
        out.append(-lp[np.arange(len(p) - 1), p[1:]])
    return out


DIRECTORIES = {          # name: arguments of quantize, None for convert
    "merged copy": None,
    "int4": ("--scheme", "int4"),
    "int4, rules that cut through layers": (
        "--scheme", "int4-g32", "--rule", r"layers\.0\.mlp=int8-g128", "--rule", r"layers\.1\.self_attn=int8-g64",
        "--rule", r"layers\.0\.self_attn\.o_proj=keep", "--rule", r"layers\.1\.block_sparse_moe\.experts=keep"),
    "int4-channel": ("--scheme", "int4-channel"),
    "int8-channel": ("--scheme", "int8-channel"),
    # with a scale for every 128 weights vLLM refuses 8-bit experts, which the plan says
    "int8 with channel experts": ("--scheme", "int8", "--rule", "experts=int8-channel"),
}


def main():
    g = golden()
    tok = ref.Tokenizer(os.path.join(TINY, "tokenizer.tok.json"))
    with open(os.path.join(GOLDEN, "heldout.txt"), encoding="utf-8", newline="") as f:
        ids = tok.encode(f.read())
    prompts = [np.array(g["prompt_ids"]["a"]), np.array(g["prompt_ids"]["b"])] + ref.windows(ids, 256)[:2]
    stand_in_kernels()
    for i, (name, args) in enumerate(DIRECTORIES.items()):
        out = work(f"{i}")
        grokkit("convert" if args is None else "quantize", TINY, out, "-q", *(args or ("--to", "hf")))
        a = np.concatenate(ours(out, prompts))
        try:
            b = np.concatenate(served(out, prompts))
        except Exception as e:                             # whatever vLLM refuses it with
            at = traceback.extract_tb(e.__traceback__)[-1]
            check(f"{name}: vLLM loads it", False,
                  f"{type(e).__name__} {e} at {os.path.basename(at.filename)}: {at.line}")
            continue
        mean, most = abs(a.mean() - b.mean()), float(np.abs(a - b).max())
        check(f"{name}: likelihoods are vLLM's in float32", mean <= TOL and most <= 5 * TOL,
              f"{a.mean():.6f}, vLLM {b.mean():.6f}, largest of {len(a)} {most:.1e}")


if __name__ == "__main__":
    main()
