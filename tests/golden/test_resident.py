#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What a tokenizer adds to a process: resident at most 1.5 times the size of its tokenizer.json, at the peak 2.5 times."""
import os
import subprocess
import sys
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", "build")
SHARED = os.environ.get("CWP_SHARED", "")
NAMES = ("gemma", "gemma3", "llama2", "llama3_1", "mistral_nemo", "qwen2_5", "smollm2")


class Resident(unittest.TestCase):
    def test_all(self):
        for name in NAMES:
            with self.subTest(name):
                model = os.path.join(SHARED, "tokenizers", name)
                size = os.path.getsize(os.path.join(model, "tokenizer.json"))
                run = subprocess.run([os.path.join(BUILD, "bench", "tokenize-run"), "memory", model], check=True,
                                     stdout=subprocess.PIPE)
                resident, peak = (int(v) / size for v in run.stdout.split()[1:])
                # As little as the vocabulary's texts alone would mean that nothing was measured.
                self.assertGreater(resident, 0.2)
                self.assertLessEqual(resident, 1.5)
                self.assertGreaterEqual(peak, resident)
                self.assertLessEqual(peak, 2.5)


if __name__ == "__main__":
    if "san" in os.path.basename(BUILD) or os.environ.get("CWP_WRAP"):
        print("sanitizers and valgrind take memory of their own")
        sys.exit(77)
    if not os.path.isdir(os.path.join(SHARED, "tokenizers")):
        print(f"{SHARED}/tokenizers is absent")
        sys.exit(77)
    unittest.main()
