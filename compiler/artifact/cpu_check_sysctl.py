"""Where macOS tells a program of the features of a 64-bit Arm processor.

Names are from Apple's "Determining instruction set characteristics" and known since macOS 12.
"""

from __future__ import annotations

# There are no Macs with SVE.
MACOS_AARCH64_NAMES = {
    "bf16": "FEAT_BF16",
    "complxnum": "FEAT_FCMA",
    "dotprod": "FEAT_DotProd",
    "fullfp16": "FEAT_FP16",
    "i8mm": "FEAT_I8MM",
    "lse": "FEAT_LSE",
    "rdm": "FEAT_RDM",
    "sha3": "FEAT_SHA3",
}
