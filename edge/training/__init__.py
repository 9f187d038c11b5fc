"""Training and evaluation; nothing above it in the import order is needed here."""

import logging

# transformers imports torchao, which warns of GPU kernels that do not concern this project.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
