"""How fast the model writes: with the key-value cache, without it, and past the context.

The base model with random weights writes greedily, in fp32; first all ways are checked to write the same ids. Run:

    python benches/generate.py --threads 1
"""

import argparse
import statistics
import time

import torch

from cs336.generate import generate
from cs336.model import ModelConfig, TransformerLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = TransformerLM(ModelConfig(), device=options.device, generator=torch.Generator().manual_seed(0))
    prompt = list(range(16))
    cases = {
        "inside the context (16 + 240)": (240, [prompt], {}),
        "inside, 8 prompts at once (1..15 + 64)": (64, [prompt[: 2 * n + 1] for n in range(8)], {}),
        "past it, window moves by 1 (256 + 32)": (32, [list(range(256))], {}),
        "past it, window moves by 64 (256 + 128)": (128, [list(range(256))], {"slide_by": 64}),
    }
    print(f"{torch.__version__}, {options.device}, {options.threads} threads, best of {options.rounds} rounds")
    print(f"{'tokens/s':<42}{'cached':>10}{'uncached':>10}{'ratio':>8}{'spread':>8}")
    for name, (num_new, prompts, extra) in cases.items():
        rates: dict[bool, list[float]] = {True: [], False: []}
        written = []
        for _ in range(options.rounds):
            for use_cache in (True, False):
                begin_s = time.perf_counter()
                ids = generate(model, prompts, max_new_tokens=num_new, temperature=0, use_cache=use_cache, **extra)
                rates[use_cache].append(num_new * len(prompts) / (time.perf_counter() - begin_s))
                written.append(ids)
        assert all(ids == written[0] for ids in written), "the cache changed what was written"
        cached, uncached = max(rates[True]), max(rates[False])
        spread = max(1 - statistics.median(rate) / max(rate) for rate in rates.values())
        print(f"{name:<42}{cached:>10,.0f}{uncached:>10,.0f}{cached / uncached:>7.1f}x{spread:>8.0%}")


if __name__ == "__main__":
    main()
