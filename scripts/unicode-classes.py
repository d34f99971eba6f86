#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Writes engine/text/classes_table.c: the Unicode classes that tokenizer.json files rely on.

usage: unicode-classes.py UNICODE-CLASSES.json > engine/text/classes_table.c

The input lists the classes as the reference tokenizer library sees them (Oniguruma with Unicode 16). One is derived:
\\w of the single_word flag (Rust's regex library, Unicode 16: Alphabetic, M, Nd, Pc, Join_Control; compared with the library code point by code point).
"""

import json
import sys

# Numbers of category No: \\p{N} without them is Nd and Nl, the part of \\p{N} that is a word character.
NO = [
      "B2-B3", "B9", "BC-BE", "9F4-9F9", "B72-B77", "BF0-BF2", "C78-C7E", "D58-D5E", "D70-D78",
      "F2A-F33", "1369-137C", "17F0-17F9", "19DA", "2070", "2074-2079", "2080-2089", "2150-215F", "2189",
      "2460-249B", "24EA-24FF", "2776-2793", "2CFD", "3192-3195", "3220-3229", "3248-324F", "3251-325F",
      "3280-3289", "32B1-32BF", "A830-A835", "10107-10133", "10175-10178", "1018A-1018B", "102E1-102FB",
      "10320-10323", "10858-1085F", "10879-1087F", "108A7-108AF", "108FB-108FF", "10916-1091B",
      "109BC-109BD", "109C0-109CF", "109D2-109FF", "10A40-10A48", "10A7D-10A7E", "10A9D-10A9F",
      "10AEB-10AEF", "10B58-10B5F", "10B78-10B7F", "10BA9-10BAF", "10CFA-10CFF", "10E60-10E7E",
      "10F1D-10F26", "10F51-10F54", "10FC5-10FCB", "11052-11065", "111E1-111F4", "1173A-1173B",
      "118EA-118F2", "11C5A-11C6C", "11FC0-11FD4", "16B5B-16B61", "16E80-16E96", "1D2C0-1D2D3",
      "1D2E0-1D2F3", "1D360-1D378", "1E8C7-1E8CF", "1EC71-1ECAB", "1ECAD-1ECAF", "1ECB1-1ECB4",
      "1ED01-1ED2D", "1ED2F-1ED3D", "1F100-1F10C"]
# Pc, Join_Control, and the letters of category So that are Alphabetic.
WORD_EXTRA = ["5F", "200C-200D", "203F-2040", "2054", "24B6-24E9", "FE33-FE34", "FE4D-FE4F", "FF3F",
              "1F130-1F149", "1F150-1F169", "1F170-1F189"]


def points(ranges):
    out = set()
    for item in ranges:
        first, _, last = item.partition("-")
        out.update(range(int(first, 16), int(last or first, 16) + 1))
    return out


def ranges(values):
    out = []
    for v in sorted(values):
        if out and out[-1][1] + 1 == v:
            out[-1][1] = v
        else:
            out.append([v, v])
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        source = json.load(f)
    classes = {}
    for name, items in source.items():
        if name in ("about", "nfc"):
            continue
        key = name[3:-1] if name.startswith("\\p{") else name.lstrip("\\")
        classes[key] = points(items)
    classes["w"] = classes["L"] | classes["M"] | (classes["N"] - points(NO)) | points(WORD_EXTRA)
    print("/* SPDX-FileCopyrightText: cwpd developers")
    print(" * SPDX-License-Identifier: Apache-2.0 */")
    print("/* Unicode classes as ascending ranges; written by scripts/unicode-classes.py, not by hand. */")
    print('#include "engine/text/classes.h"\n')
    print("/* clang-format off */")
    entries = []
    for key in sorted(classes):
        items = ranges(classes[key])
        variable = "class_" + key.lower() + ("_upper" if key.isupper() and len(key) == 1 else "")
        entries.append((key, variable, len(items)))
        print(f"static const struct cwe_range {variable}[{len(items)}] = {{")
        line = "\t"
        for first, last in items:
            text = f"{{0x{first:X}, 0x{last:X}}},"
            if len(line) + len(text) > 112:
                print(line.rstrip())
                line = "\t"
            line += text + " "
        print(line.rstrip())
        print("};\n")
    print("const struct cwe_class cwe_class_table[] = {")
    for key, variable, count in entries:
        print(f'\t{{"{key}", {variable}, {count}}},')
    print("};")
    print(f"const size_t cwe_class_count = {len(entries)};")


if __name__ == "__main__":
    main()
