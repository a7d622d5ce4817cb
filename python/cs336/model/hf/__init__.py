"""To and from Hugging Face: a Llama checkpoint (with QK-norm a Qwen3 one) that `transformers` loads, and back.

`mapping` says which tensor and which setting is which, `files` reads and writes the directory.
"""

from cs336.model.hf.files import export_hf, import_hf
from cs336.model.hf.mapping import from_hf_config, from_hf_state, to_hf_config, to_hf_state

__all__ = ["export_hf", "from_hf_config", "from_hf_state", "import_hf", "to_hf_config", "to_hf_state"]
