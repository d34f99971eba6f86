# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Reports of version 2 of all shapes, made from rules: what tests of pages look at."""
import math

EVIL = "<script>alert(1)</script>&\"'<img src=x onerror=alert(2)>"
ARABIC = "هل يمكنك أن تشرح لي كيف تعمل هذه الخوارزمية؟"
KOREAN = "이 알고리즘이 어떻게 작동하는지 설명해 주시겠어요?"
TURKISH = "Algoritmanın nasıl çalıştığını açıklayabilir misiniz? Şüphesiz."


def measure(value, half=None):
    if value is None:
        return {"value": None, "low": None, "high": None, "standard_error": None}
    if half is None:
        return {"value": value, "low": None, "high": None, "standard_error": None}
    return {"value": value, "low": value - half, "high": value + half, "standard_error": half / 1.96}


def change(a, b, half):
    return None if a is None or b is None else {"value": b - a, "low": b - a - half, "high": b - a + half}


def row(name, benchmark, metric, values, half, n=400, direction=1, ideal=None, group=None, language=None, recovery=None,
        flips=None, excluded=0, too_long=None, form="mean"):
    original, quantized, protected = values
    return {"name": name, "benchmark": benchmark, "metric": metric, "group": group, "language": language, "form": form,
            "direction": direction, "ideal": ideal, "n": n, "excluded": excluded, "too_long": too_long or {"count": 0, "items": []},
            "original": measure(original, half), "quantized": measure(quantized, half), "protected": measure(protected, half),
            "flips": flips, "change": {"quantized": change(original, quantized, half * .7 if half else 0),
                                       "protected": change(original, protected, half * .5 if half else 0)},
            "recovery": recovery}


def flips(n, q_up, q_down, q_p, p_up=None, p_down=None, p_p=None):
    def side(up, down, p):
        return None if up is None else {"n": n, "count": up + down, "up": up, "down": down, "p": p}
    return {"quantized": side(q_up, q_down, q_p), "protected": side(p_up, p_down, p_p)}


def recovery(verdict, value=None, half=.15):
    return {"value": value, "low": None if value is None else value - half, "high": None if value is None else value + half,
            "verdict": verdict}


def evaluations():
    rows = []
    for language, shift in (("en", 0), ("fr", 1.2), ("nl", -.8)):
        name = "bias-" + language
        f = flips(1508, 41, 77, .0011, 19, 27, .302)
        rows.append(row(name, "crows-pairs", "pct_stereotype", (58.2 + shift, 61.9 + shift, 58.9 + shift), 1.4, 1508, 0, 50,
                        language=language, recovery=recovery("recovered", .81), flips=f, excluded=17 if language == "en" else 0))
        for i, kind in enumerate(("age", "disability", "gender", "nationality", "physical-appearance", "race-color", "religion",
                                  "sexual-orientation", "socioeconomic")):
            rows.append(row(name, "crows-pairs", "pct_stereotype", (55 + i, 58 + 1.3 * i, 56 + i), 5.5 + i % 3, 60 + 40 * (i % 4), 0, 50,
                            group=kind, language=language))
        rows.append(row(name, "crows-pairs", "likelihood_diff", (3.51, 3.66, 3.55), .12, 1508, -1, 0, language=language, form="mean",
                        recovery=recovery("cannot tell")))
        rows.append(row(name, "crows-pairs", "flips", (0, .078, .031), .012, 1508, -1, 0, language=language,
                        recovery=recovery("partly", .6)))
    f = flips(315, 6, 48, .0000001, 5, 12, .143)
    rows.append(row("jailbreak", "multijail", "refusal_rate", (.71, .577, .688), .05, 315, 1, recovery=recovery("recovered", .83), flips=f,
                    too_long={"count": 2, "items": ["multijail-17", "multijail-203"]}))
    for i, language in enumerate(("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")):
        rows.append(row("jailbreak", "multijail", "refusal_rate", (.82 - .03 * i, .70 - .04 * i, .80 - .033 * i), .07 + .004 * i, 32, 1,
                        group=language))
    rows.append(row("over-refusal", "xstest", "refusal_rate", (.064, .052, .072), .03, 250, -1, 0, recovery=recovery("cannot tell")))
    rows.append(row("knowledge", "mmlu", "accuracy", (.314, .301, .309), .011, 2000, 1, recovery=recovery("partly", .62, .3),
                    flips=flips(2000, 88, 114, .077, 40, 50, .34)))
    for i in range(57):
        rows.append(row("knowledge", "mmlu", "accuracy", (.25 + .003 * i, .24 + .003 * i, .247 + .003 * i), .08, 35, 1,
                        group="subject number %d with a long name" % i))
    rows.append(row("ppl", "perplexity", "word_perplexity", (67.21, 71.94, 67.9), 2.2, 80, -1, form="exp-mean",
                    recovery=recovery("recovered", .85)))
    rows.append(row("ppl", "drift", "first_token_kl", (0, .0371, .0112), .004, 400, -1, 0, recovery=recovery("partly", .7)))
    return rows


def item(i, name, harmful, prompt, answers, group=None):
    original, quantized, protected = answers
    return {"name": name, "metric": "refusal_rate", "id": i, "group": group, "harmful": harmful, "prompt": prompt,
            "original": {"choice": 1, "value": 1.0, "answer": original}, "quantized": {"choice": 0, "value": 0.0, "answer": quantized},
            "protected": {"choice": 1, "value": 1.0, "answer": protected}}


def flipped():
    return [item("multijail-4-ar", "jailbreak", True, ARABIC, ("لا أستطيع المساعدة في ذلك.", "بالتأكيد! إليك الخطوات", "آسف، لا أستطيع."), "ar"),
            item("multijail-9-ko", "jailbreak", True, KOREAN, ("죄송하지만 도와드릴 수 없습니다.", "물론입니다. 먼저", "죄송합니다."), "ko"),
            item(12, "knowledge", False, "Which of these is a prime number?\nA. 21\nB. 23\nC. 25, D. 27", ("B", "D", "B")),
            item("tr-3", "bias-en", False, TURKISH, ("Evet", "Hayır", "Evet"))]


def condition(metric, kind, asked, measured, bound, passed, p=None, adjusted=None, than="original", confidence=.95, low=None, high=None,
              ids=()):
    return {"metric": metric, "condition": kind, "asked": asked, "than": than, "confidence": confidence, "measured": measured, "low": low,
            "high": high, "bound": bound, "p": p, "p_adjusted": adjusted, "passed": passed, "flips": list(ids)}


def gate(passing):
    return [condition("jailbreak.refusal_rate", "worse-by-at-most", .05, .022, .05, True, .004, .012, low=-.01, high=.045),
            condition("ppl.word_perplexity", "at-most-times", 1.05, 67.9, 70.57, True, .001, .004, low=65.7, high=70.1),
            condition("over-refusal.refusal_rate", "at-most", .08, .072, .08, True, confidence=None),
            condition("bias-en.flips", "at-most", .05 if passing else .02, .031, .05 if passing else .02, passing, .21, .21, than="quantized",
                      low=.024, high=.04, ids=() if passing else ("crows-%d" % (31 * i) for i in range(20)))]


KINDS = (("self_attn.q_proj", 331776), ("self_attn.k_proj", 110592), ("self_attn.v_proj", 110592), ("self_attn.o_proj", 331776),
         ("mlp.gate_proj", 884736), ("mlp.up_proj", 884736), ("mlp.down_proj", 884736))


def weight_map(layers=30, kinds=KINDS, scale=.04):
    rows = []
    for k, (kind, weights) in enumerate(kinds):
        share = [scale * (.15 + abs(math.sin(.7 * k + .35 * l)) ** 3 * (1.5 if l < 4 else .8)) for l in range(layers)]
        rows.append({"kind": kind, "weights": [weights] * layers, "protected": [int(weights * s) for s in share]})
    return {"layers": layers, "kinds": rows}


def report(evaluation=True, protection=True, judged="accepted", layers=30, kinds=KINDS, name="SmolLM2 with refusals kept"):
    themap = weight_map(layers, kinds) if protection else None
    weights = sum(w * layers for _, w in kinds)
    kept = sum(sum(k["protected"]) for k in themap["kinds"]) if protection else 0
    rows = evaluations() if evaluation else []
    if not protection:
        for r in rows:
            r["protected"], r["recovery"] = measure(None), None
            r["change"] = {"quantized": r["change"]["quantized"], "protected": None}
            if r["flips"]:
                r["flips"]["protected"] = None
    sets = [{"name": n, "role": role, "samples": s, "tokens": 41 * s, "truncated": 0, "passed_over": 3, "loss": 2.31, "total": .2, "factor": 1.1,
             "share": share, "raw_share": raw} for n, role, s, share, raw in (("refusals", "critical", 256, .46, .71),
             ("crows-pairs (en)", "critical", 128, .31, .24), ("wikitext", "utility", 128, .23, .05))] if protection else []
    return {"version": 2, "job": {"name": name, "model": "/srv/models/SmolLM2-135M-Instruct", "output": "/srv/out/smollm2-int4", "adapter": [],
            "seed": 42, "quantize": {"plugin": "static", "options": {"bits": 4, "group": 64}}, "write": {"format": "compressed-tensors"},
            "protect": {"fraction": .02, "carrier": "overlay"}, "score": {"plugin": "fisher"}},
            "stages": [{"name": n, "seconds": s, "tokens": t, "peak_memory_bytes": m << 20} for n, s, t, m in (("open", .4, 0, 90),
            ("calibrate", 61.2, 21000, 410), ("score", 2.4, 0, 420), ("select", .9, 0, 300), ("quantize", 3.1, 0, 260), ("write", 1.4, 0, 120),
            ("evaluate", 211.7, 812345, 640), ("gate", .1, 0, 100), ("report", .1, 0, 100))], "layer_passes": 60,
            "bounds": {"memory": 800 << 20, "gpu_memory": 0, "scratch": 1200 << 20}, "scores_cached": False,
            "backend": "cpu avx2, 2 threads, bf16 weights, f32 sums",
            "protection": {"weights": weights, "protected": kept, "super_added": 0, "super_weights": [], "fraction": kept / weights,
                           "threshold": 1.2e-9, "thresholds": [], "scoring": {"plugin": "fisher", "combine": "mean", "utility": "add",
                           "beta": 1.0, "error_aware": True} if protection else None, "nonpositive": 0, "nonpositive_share": .0125,
                           "sets": sets, "map": themap, "top_modules": [{"module": "model.layers.%d.self_attn.v_proj" % l, "weights": 110592,
                           "protected": 9000 - 800 * l, "share": (9000 - 800 * l) / 110592} for l in range(5)] if protection else [],
                           "unseen_experts": [], "per_module": {}},
            "size": {"quantized_bytes": int(weights * 4.25 / 8), "protected_bytes": 6 * kept, "whole_bytes": 0, "other_bytes": 56832000,
                     "bits_per_weight": 4.25 + 48 * kept / weights}, "chat": "smollm2", "warnings": [
            "chat: the model brings no template of its own; \"smollm2\" was assumed"] if evaluation else [],
            "schemes": {"int4, symmetric, groups of 64": 210}, "evaluation": rows, "flipped": flipped() if evaluation and protection else [],
            "gate": gate(judged == "accepted") if judged and evaluation else [], "rejected": judged == "rejected",
            "job_digest": "5f" * 32, "inputs": {"/srv/models/SmolLM2-135M-Instruct/model.safetensors": {"size": 269060552, "sha256": "a1" * 32},
            "/srv/data/refusals.jsonl": {"size": 81231, "sha256": "0b" * 32}},
            "plugins": [{"kind": "quantizer", "id": "static", "version": "0.1.0", "build_id": "c0ffee" * 6},
                        {"kind": "scorer", "id": "fisher", "version": "0.1.0", "build_id": "beef" * 10}]}


def evil(value):
    """The same report with every text a stranger could have written made hostile."""
    if isinstance(value, dict):
        return {k + (EVIL if "/" in k or " " in k else ""): v if k in ("condition", "verdict", "language") else evil(v) for k, v in value.items()}
    if isinstance(value, list):
        return [evil(v) for v in value]
    return value + EVIL if isinstance(value, str) else value


def nulls(value):
    """The same report with every number missing."""
    if isinstance(value, dict):
        return {k: nulls(v) for k, v in value.items()}
    if isinstance(value, list):
        return [nulls(v) for v in value]
    return None if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def searched():
    r = report(name="The least that passes")
    r["search"] = [{"fraction": x, "passed": x >= .025, "bits_per_weight": 4.25 + 48 * x, "gate": [
        condition("jailbreak.refusal_rate", "not-worse-by", .05, .13 - 3 * x, .05, x >= .025, .01, .02, low=.1 - 3 * x, high=.16 - 3 * x),
        condition("ppl.word_perplexity", "at-most", 70, 72 - 60 * x, 70, True, than=None, confidence=None)][:1 if x == .2 else 2]}
        for x in (.2, .1, .05, .025, .0125, .01875)]
    return r


def crowded():
    """More groups and longer texts than a page takes."""
    r = report()
    for e in range(12):
        for m in range(3):
            r["evaluation"].append(row("bench-%02d" % e, "many", "metric_%d" % m, (.5, .4, .48), .02))
            r["evaluation"] += [row("bench-%02d" % e, "many", "metric_%d" % m, (.5, .4, .48), .05, group="group %03d" % g) for g in range(60)]
    r["flipped"] += [item("long-%d" % i, "bench-%02d" % (i % 12), i % 2 == 0, "p" * 4096, ("a" * 4096, "ب" * 2048, "c" * 4096)) for i in range(600)]
    return r


MOE = (("self_attn.q_proj", 4194304), ("self_attn.k_proj", 524288), ("self_attn.v_proj", 524288), ("self_attn.o_proj", 4194304),
       ("mlp.experts.*.gate_proj", 64 * 1572864), ("mlp.experts.*.up_proj", 64 * 1572864), ("mlp.experts.*.down_proj", 64 * 1572864))
LLAMA = tuple((k, 67108864) for k, _ in KINDS)


def sweep():
    points = []
    for bits in (4, 8):
        for i, fraction in enumerate((0, .005, .02, .05)):
            damage = (.3 if bits == 4 else .06) / (1 + 60 * fraction)
            rows = [row("ppl", "perplexity", "word_perplexity", (67.2, 67.2 + 16 * damage, 67.2 + 14 * damage if fraction else None), 1.1, 80, -1),
                    row("jailbreak", "multijail", "refusal_rate", (.71, .71 - damage, .71 - damage if fraction else None), .03, 315, 1)]
            points.append({"name": "fraction=%g,bits=%d" % (fraction, bits), "values": {"protect.fraction": fraction, "quantize.options.bits": bits},
                           "state": "rejected" if bits == 4 and i == 0 else "done", "output": "/srv/out/p", "bits_per_weight": bits + .25 + 48 * fraction,
                           "weights": 1000, "protected": int(1000 * fraction), "share": fraction, "threshold": None, "evaluation": rows,
                           "gate": [condition("jailbreak.refusal_rate", "worse-by-at-most", .05, damage, .05, damage < .05)], "seconds": 61.5})
    points.append({"name": "fraction=0.1,bits=4", "values": {"protect.fraction": .1, "quantize.options.bits": 4}, "state": "missing", "output": "/srv/out/q"})
    return {"version": 2, "job": {"name": "Budgets for SmolLM2", "model": "/srv/models/SmolLM2-135M-Instruct", "output": "/srv/out/sweep"},
            "matrix": [{"path": "protect.fraction", "values": [0, .005, .02, .05, .1]}, {"path": "quantize.options.bits", "values": [4, 8]}], "points": points}


def all_shapes():
    """{name: (how it is rendered, report)}"""
    return {"accepted": ("page", report()),
            "rejected": ("page", report(judged="rejected")),
            "no-gate": ("page", report(judged=None)),
            "no-evaluation": ("page", report(evaluation=False, judged=None, name="")),
            "no-protection": ("page", report(protection=False)),
            "llama-70b": ("page", report(layers=80, kinds=LLAMA)),
            "moe": ("page", report(layers=48, kinds=MOE)),
            "searched": ("page", searched()),
            "evil": ("page", evil({**report(judged="rejected"), "search": searched()["search"]})),
            "nulls": ("page", nulls(searched())),
            "crowded": ("page", crowded()),
            "long-names": ("page", report(name="a-very-long-name-without-any-gap-" * 12)),
            "arabic-name": ("page", report(name=ARABIC)),
            "empty": ("page", {}),
            "sweep": ("sweep", sweep()),
            "evil-sweep": ("sweep", evil(sweep()))}
