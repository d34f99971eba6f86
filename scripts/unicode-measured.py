#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Writes the Unicode tables that only the reference tokenizer library itself can tell, as C:

    unicode-measured.py classes > engine/text/classes_measured.c
    unicode-measured.py normal > engine/text/normal_table.c

The interpreter is one that has the package "tokenizers" (scripts/packages --python). Every code point is put to the library: its
regular expressions, its normalizers and its pre-tokenizers have tables of different versions of Unicode, and no packaged library
has any of them. Combining classes are not to be seen from outside; what is measured is which characters are reordered, and behind
which class each sorts. Classes that the list of the reference data has are left to unicode-classes.py.
"""

import sys

from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYTHING = "".join(map(chr, POINTS))

PROPERTIES = ["C", "Cc", "Cf", "Cn", "Co", "Mc", "Me", "Mn", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps",
              "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
              "Arabic", "Cyrillic", "Devanagari", "Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana", "Latin", "Thai"]

# A mark of each combining class that Unicode has (the classes of characters never change).
CLASSES = {1: 0x334, 7: 0x93C, 8: 0x3099, 9: 0x94D, 10: 0x5B0, 11: 0x5B1, 12: 0x5B2, 13: 0x5B3, 14: 0x5B4, 15: 0x5B5,
           16: 0x5B6, 17: 0x5B7, 18: 0x5B8, 19: 0x5B9, 20: 0x5BB, 21: 0x5BC, 22: 0x5BD, 23: 0x5BF, 24: 0x5C1, 25: 0x5C2,
           26: 0xFB1E, 27: 0x64B, 28: 0x64C, 29: 0x64D, 30: 0x64E, 31: 0x64F, 32: 0x650, 33: 0x651, 34: 0x652, 35: 0x670,
           36: 0x711, 84: 0xC55, 91: 0xC56, 103: 0xE38, 107: 0xE48, 118: 0xEB8, 122: 0xEC8, 129: 0xF71, 130: 0xF72, 132: 0xF74,
           202: 0x327, 214: 0x1DCE, 216: 0x31B, 218: 0x302A, 220: 0x316, 222: 0x59A, 224: 0x302E, 226: 0x1D16D, 228: 0x5AE,
           230: 0x300, 232: 0x315, 233: 0x35C, 234: 0x35D, 240: 0x345}

LINE = 112


def ranges(values):
    out = []
    for v in sorted(values):
        if out and out[-1][1] + 1 == v:
            out[-1][1] = v
        else:
            out.append([v, v])
    return out


def left_of(splitter):
    """The code points that a splitter with the behaviour "removed" leaves."""
    return {ord(c) for piece, _ in splitter.pre_tokenize_str(EVERYTHING) for c in piece}


def matching(pattern):
    return set(POINTS) - left_of(pre_tokenizers.Split(Regex(pattern), "removed"))


def emit(items):
    line = "\t"
    for text in items:
        if len(line) + len(text) > LINE:
            print(line.rstrip())
            line = "\t"
        line += text + " "
    print(line.rstrip())
    print("};\n")


def emit_ranges(variable, values):
    items = ranges(values)
    print(f"static const struct cwe_range {variable}[{len(items)}] = {{")
    emit(f"{{0x{first:X}, 0x{last:X}}}," for first, last in items)
    return len(items)


def head(purpose, include):
    print("/* SPDX-FileCopyrightText: cwpd developers")
    print(" * SPDX-License-Identifier: Apache-2.0 */")
    print(f"/* {purpose}; written by scripts/unicode-measured.py, not by hand. */")
    print(f'#include "{include}"\n')
    print("/* clang-format off */")


def classes():
    strip = normalizers.StripAccents()
    table = {name: matching(f"\\p{{{name}}}") for name in PROPERTIES}
    table["word"] = matching("\\w")
    table["word_set"] = matching("[\\w]")
    table["punctuation"] = set(POINTS) - left_of(pre_tokenizers.Punctuation("removed"))
    table["accent"] = {c for c in POINTS if strip.normalize_str("a" + chr(c) + "b") == "ab"}
    head("Unicode classes of the reference library beyond those of its list", "engine/text/classes.h")
    entries = [(name, "class_" + name.lower() + ("_all" if len(name) == 1 else "")) for name in sorted(table)]
    counts = {name: emit_ranges(variable, table[name]) for name, variable in entries}
    print("const struct cwe_class cwe_class_measured[] = {")
    for name, variable in entries:
        print(f'\t{{"{name}", {variable}, {counts[name]}}},')
    print("};")
    print(f"const size_t cwe_class_measured_count = {len(entries)};")


def combining(nfd):
    """The combining class of every character that the library reorders."""
    def swapped(first, second):
        return first != second and nfd.normalize_str("a" + chr(first) + chr(second)) == "a" + chr(second) + chr(first)
    known = sorted(CLASSES)
    known = [k for k in known if k == 240 or swapped(CLASSES[240], CLASSES[k])]
    lowest, highest = CLASSES[known[0]], CLASSES[known[-1]]
    out = {}
    for c in POINTS:
        if nfd.normalize_str(chr(c)) != chr(c) or not (swapped(c, lowest) or swapped(highest, c)):
            continue
        above = [k for k in known if swapped(c, CLASSES[k])]
        below = [k for k in known if swapped(CLASSES[k], c)]
        rest = [k for k in known if k not in above and k not in below]
        assert len(rest) == 1 and above == known[:len(above)], (hex(c), rest)
        out[c] = rest[0]
    return out


def emit_map(variable, pairs):
    """A decomposition or another form of single characters: where it lies in a pool of code points."""
    pool = []
    entries = []
    for c, text in pairs:
        entries.append(f"{{0x{c:X}, {len(pool)}, {len(text)}}},")
        pool += [f"0x{ord(t):X}," for t in text]
    print(f"static const uint32_t {variable}_pool[{len(pool)}] = {{")
    emit(pool)
    print(f"static const struct cwe_normal_entry {variable}_entry[{len(entries)}] = {{")
    emit(entries)
    print(f"const struct cwe_normal_map cwe_normal_{variable} = {{{variable}_entry, {len(entries)}, {variable}_pool}};\n")


def emit_pages(values):
    """A set as bitmaps of 256 code points each, equal ones once."""
    pages = [[]]
    which = []
    for page in range((max(values) >> 8) + 1):
        bits = [sum(1 << k for k in range(8) if page << 8 | at << 3 | k in values) for at in range(32)]
        if not any(bits):
            which.append(0)
            continue
        if bits not in pages:
            pages.append(bits)
        which.append(pages.index(bits))
    print(f"const unsigned char cwe_normal_unstable_page[{len(which)}] = {{")
    emit(f"{page}," for page in which)
    print(f"const size_t cwe_normal_unstable_pages = {len(which)};\n")
    pages[0] = [0] * 32
    print(f"const unsigned char cwe_normal_unstable_bits[{len(pages)}][32] = {{")
    for bits in pages:
        print("\t{" + ", ".join(f"0x{byte:02X}" for byte in bits) + "},")
    print("};")


def normal():
    nfd, nfkd, nfc = normalizers.NFD(), normalizers.NFKD(), normalizers.NFC()
    lower = normalizers.Lowercase()
    hangul = range(0xAC00, 0xD7A4)
    canonical = {c: nfd.normalize_str(chr(c)) for c in POINTS if c not in hangul}
    canonical = {c: t for c, t in canonical.items() if t != chr(c)}
    compatible = {c: nfkd.normalize_str(chr(c)) for c in POINTS if c not in hangul}
    compatible = {c: t for c, t in compatible.items() if t != canonical.get(c, chr(c))}
    cased = {c: lower.normalize_str(chr(c)) for c in POINTS}
    cased = {c: t for c, t in cased.items() if t != chr(c)}
    marks = combining(nfd)
    # Which two characters become one: a decomposition is that of its first character, and one more.
    pairs = []
    for c, text in canonical.items():
        first = nfc.normalize_str(text[:-1])
        if len(text) > 1 and len(first) == 1 and nfc.normalize_str(first + text[-1]) == chr(c):
            pairs.append((ord(first), ord(text[-1]), c))
    pairs.sort()
    # What NFC may change: all others stay as they are, and nothing reaches across them.
    unstable = {c for c in POINTS if nfc.normalize_str(chr(c)) != chr(c)} | set(marks) | {second for _, second, _ in pairs}
    unstable |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    head("Decompositions, compositions, combining classes and small letters of the reference library", "engine/text/normal_table.h")
    emit_map("canonical", sorted(canonical.items()))
    emit_map("compatible", sorted(compatible.items()))
    emit_map("lower", sorted(cased.items()))
    print(f"const struct cwe_normal_pair cwe_normal_pair[{len(pairs)}] = {{")
    emit(f"{{0x{a:X}, 0x{b:X}, 0x{c:X}}}," for a, b, c in pairs)
    print(f"const size_t cwe_normal_pairs = {len(pairs)};\n")
    runs = []
    for c, k in sorted(marks.items()):
        if runs and runs[-1][1] + 1 == c and runs[-1][2] == k:
            runs[-1][1] = c
        else:
            runs.append([c, c, k])
    print(f"const struct cwe_normal_marks cwe_normal_marks[{len(runs)}] = {{")
    emit(f"{{0x{first:X}, 0x{last:X}, {k}}}," for first, last, k in runs)
    print(f"const size_t cwe_normal_mark_runs = {len(runs)};\n")
    emit_pages(unstable)


if __name__ == "__main__":
    {"classes": classes, "normal": normal}[sys.argv[1]]()
