# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Random texts that tokenizers may stumble over."""

SPACES = [" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u0085", "\u2028", "\u3000", "\u200b", "\ufeff", "\x1c", "\u180e", "\u2581"]
WORDS = ["the", "It's", "DON'T", "we'll", "I'D", "they'RE", "l\u2019\u00e9t\u00e9", "na\u00efve", "Stra\u00dfe", "\u0130stanbul",
         "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u043f\u0440\u0438\u0432\u0435\u0442", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627",
         "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u4f60\u597d\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f",
         "\ud55c\uad6d\uc5b4", "a'\u017f", "\u212aelvin", "'\u017ft", "\ufb01n", "\u01c5", "x\u00b2", "\u2163", "1\u20444", "camelCaseXML"]
EMOJI = ["\U0001F600", "\U0001F469\u200d\U0001F469\u200d\U0001F467", "\U0001F44B\U0001F3FD", "\U0001F1F3\U0001F1F1", "3\ufe0f\u20e3",
         "\u2764\ufe0f\u200d\U0001F525", "\U0001F3F4\U000E0067\U000E0062\U000E007F", "\u00a9\ufe0e"]
CODE = ["def f(x):\n    return x", "#include <a.h>", "a[i]+=b->c;", "https://x.y/z?q=1", "{\"k\": [1, 2]}", "<b>", "</s>", "<|x|>", "\\n",
        "//", "/*", "...", "--", "==", "$1,234.56", "3.14159", "0x1F", "1e-9", "\u0661\u0662\u0663", "\u096b\u0967", "\u00bd"]
MARKS = ["\u0301", "\u0323", "\u0327", "\u0345", "\u0334", "\u05b0", "\u093c", "\u09be", "\u09d7", "\u3099", "\u0338", "\u20dd", "\u0f71", "\u0f74",
         "\u1161", "\u11a8", "\u11a7", "\u1175", "\u07fd", "\u0899", "\U0001193e", "\U00011930", "\U0001133b", "\u1abf"]
BASES = ["a", "E", "o", "\u00e9", "\u1e9b", "\u0928", "\u0958", "\u09c7", "\u30ab", "\uac00", "\uac01", "\u1100", "\u212b", "\u2126", "\u0344", "\ufb1d",
         "\U00011935", "\U000105d2", "\U00016121", "\u0f40", "\u2adc", "\ufdfa", "\u3392", "\uff76\uff9e", "\u0130", "\u01c4"]


def point(rng):
    while True:
        c = rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x20000), rng.randrange(0x110000)))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def clusters(rng):
    out = ""
    for _ in range(rng.randint(1, 4)):
        out += rng.choice(BASES) + "".join(rng.choice(MARKS) for _ in range(rng.choice((0, 1, 1, 2, 3, 6, 24))))
    return out


def jamo(rng):
    kinds = (lambda: chr(0x1100 + rng.randrange(0x16)), lambda: chr(0x1160 + rng.randrange(0x18)), lambda: chr(0x11A6 + rng.randrange(0x20)),
             lambda: chr(0xAC00 + rng.randrange(11172)))
    return "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 8)))


def fragment(rng, own):
    """own: strings of the tokenizer itself."""
    kind = rng.randrange(16)
    if kind < 4 and own:
        text = rng.choice(own)
        return text if rng.random() < 0.8 else text[:rng.randint(0, len(text))]
    if kind < 6:
        return rng.choice(WORDS)
    if kind < 8:
        return "".join(rng.choice(SPACES[:5] if rng.random() < 0.7 else SPACES) for _ in range(rng.choice((1, 1, 2, 3, 7, 33))))
    if kind == 8:
        return rng.choice(EMOJI)
    if kind == 9:
        return rng.choice(CODE)
    if kind == 10:
        return clusters(rng)
    if kind == 11:
        return jamo(rng)
    if kind == 12:
        return "".join(point(rng) for _ in range(rng.randint(1, 6)))
    if kind == 13:
        return str(rng.randrange(10 ** rng.randint(1, 12)))
    if kind == 14:
        return "".join(rng.choice("abcdeABC '-_.,\n") for _ in range(rng.randint(1, 12)))
    return fragment(rng, own) * rng.choice((2, 3, 5, 40))


def text(rng, own):
    out = "".join(fragment(rng, own) + (" " if rng.random() < 0.3 else "") for _ in range(rng.randint(1, 9)))
    if rng.random() < 0.05:
        out = out.swapcase()
    # str may hold single surrogates only where a method made them: none here, but be sure.
    return "".join(c for c in out if not 0xD800 <= ord(c) < 0xE000)
