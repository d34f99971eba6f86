/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job file: everything it can say, every default, and every refusal with its place, field and
 * nearest name. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "job/job.h"

/* Every key once. */
static const char full[] =
	"name: smollm2-int4                      # optional, free text, shown in lists\n"
	"model: /srv/models/SmolLM2-135M\n"
	"adapter: /srv/models/my-lora\n"
	"output: /srv/models/out/smollm2-int4\n"
	"seed: 0\n"
	"backend: auto\n"
	"precision: auto\n"
	"limits: {memory: 4GiB, scratch: 20GiB, time: 2h, threads: 2}\n"
	"calibrate:\n"
	"  critical:                             # sets whose damage must be avoided\n"
	"    - {name: safety,   data: advbench,  path: /srv/data/advbench/harmful_behaviors.csv, "
	"samples: 128}\n"
	"    - {name: fairness, data: stereoset, path: /srv/data/stereoset/en.json,  samples: "
	"128}\n"
	"  utility:                              # sets that stand for general ability\n"
	"    - {name: text,     data: text,         path: wiki.txt, samples: 128, length: 512}\n"
	"    - {name: help,     data: instructions, path: ../data/seed_tasks.jsonl, samples: 128}\n"
	"score:    {plugin: fisher, combine: mean, utility: add, beta: 1.0, options: {error-aware: "
	"true}}\n"
	"protect:  {fraction: 0.05, scope: global, unit: weight, carrier: overlay}\n"
	"quantize: {plugin: static, skip: [lm_head], options: {bits: 4, granularity: group, group: "
	"128, symmetric: true, "
	"algorithm: gptq}}\n"
	"write:    {format: compressed-tensors, shard: 5GB}\n"
	"evaluate:\n"
	"  - {name: bias,  benchmark: crows-pairs, path: /srv/data/crows-pairs/en.csv, limit: "
	"500}\n"
	"  - {name: ppl,   benchmark: perplexity,  path: /srv/data/wikitext2/test.txt}\n"
	"gate:\n"
	"  - {metric: bias.pct_stereotype, worse-by-at-most: 1.0, than: original}\n"
	"  - {metric: ppl.word_perplexity, at-most-times: 1.05, than: original}\n"
	"chat: llama3\n";

static const char least[] = "model: m\noutput: o\nquantize: {plugin: static}\n";

static struct cwj_job *parse(const char *text)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	if (cwj_job_parse(text, strlen(text), "/srv/jobs", &job, &err) != 0) {
		fail_msg("%d:%d: %s\n%s", err.line, err.column, err.message, text);
	}
	return job;
}

/* `full` with its first `old` replaced; the result is static. */
static const char *change(const char *old, const char *new)
{
	static char text[8192];
	const char *at = strstr(full, old);

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - full), full, new, at + strlen(old));
	return text;
}

static void refuse_with(
	const char *text, int code, const char *field, const char *nearest, const char *part)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	int rc = cwj_job_parse(text, strlen(text), "/srv/jobs", &job, &err);
	assert_null(job);
	if (rc != code || strcmp(err.field, field) != 0 || strcmp(err.nearest, nearest) != 0 ||
		strstr(err.message, part) == NULL) {
		fail_msg("got %d [%s] near [%s] %s\nnot %d [%s] near [%s] with \"%s\"", rc,
			err.field, err.nearest, err.message, code, field, nearest, part);
	}
	assert_true(err.line > 0 && err.column > 0);
	assert_int_equal(strncmp(err.message, field, strlen(field)), 0);
	assert_int_equal(cwj_job_parse(text, strlen(text), "/srv/jobs", &job, NULL), code);
}

static void reads_every_key(void **state)
{
	struct cwj_job *j = parse(full);

	(void)state;
	assert_string_equal(j->name, "smollm2-int4");
	assert_string_equal(j->model, "/srv/models/SmolLM2-135M");
	assert_int_equal(j->n_adapters, 1);
	assert_string_equal(j->adapters[0], "/srv/models/my-lora");
	assert_string_equal(j->chat.format, "llama3");
	assert_int_equal(j->chat.line, j->gates[1].line + 1);
	assert_int_equal(j->chat.column, 7);
	assert_string_equal(j->output, "/srv/models/out/smollm2-int4");
	assert_int_equal(j->limits.memory, UINT64_C(4) << 30);
	assert_int_equal(j->limits.scratch, UINT64_C(20) << 30);
	assert_int_equal(j->limits.time, 7200);
	assert_int_equal(j->limits.threads, 2);
	assert_int_equal(j->n_sets, 4);
	assert_string_equal(j->sets[0].name, "safety");
	assert_string_equal(j->sets[0].data, "advbench");
	assert_int_equal(j->sets[0].samples, 128);
	assert_int_equal(j->sets[0].length, 0);
	assert_int_equal(j->sets[1].role, CWJ_ROLE_CRITICAL);
	assert_int_equal(j->sets[2].role, CWJ_ROLE_UTILITY);
	assert_string_equal(j->sets[2].path, "/srv/jobs/wiki.txt");
	assert_int_equal(j->sets[2].length, 512);
	assert_int_equal(j->sets[2].line, 14);
	assert_int_equal(j->sets[2].column, 7);
	assert_string_equal(j->sets[3].path, "/srv/data/seed_tasks.jsonl");
	assert_int_equal(j->has_score, 1);
	assert_string_equal(j->score.plugin, "fisher");
	assert_int_equal(j->score.line, 16);
	assert_int_equal(j->score.n_options, 1);
	assert_string_equal(j->score.options[0].name, "error-aware");
	assert_string_equal(j->score.options[0].value, "true");
	assert_int_equal(j->has_protect, 1);
	assert_true(j->fraction == 0.05);
	assert_string_equal(j->quantize.plugin, "static");
	assert_int_equal(j->quantize.n_options, 5);
	assert_string_equal(j->quantize.options[2].name, "group");
	assert_string_equal(j->quantize.options[2].value, "128");
	assert_int_equal(j->quantize.options[2].line, 18);
	assert_int_equal(j->n_skip, 1);
	assert_string_equal(j->skip[0], "lm_head");
	assert_int_equal(j->shard, UINT64_C(5000000000));
	assert_int_equal(j->n_evaluations, 2);
	assert_string_equal(j->evaluations[0].benchmark, "crows-pairs");
	assert_int_equal(j->evaluations[0].limit, 500);
	assert_null(j->evaluations[0].judge);
	assert_int_equal(j->n_gates, 2);
	assert_int_equal(j->gates[0].kind, CWJ_GATE_WORSE_BY_AT_MOST);
	assert_true(j->gates[0].value == 1.0);
	assert_int_equal(j->gates[1].kind, CWJ_GATE_AT_MOST_TIMES);
	assert_int_equal(j->gates[1].than, CWJ_THAN_ORIGINAL);
	assert_int_equal(j->gates[1].line, 25);
	cwj_job_free(j);
}

static void fills_in_the_defaults(void **state)
{
	struct cwj_job *j = parse(least);

	(void)state;
	assert_null(j->name);
	assert_int_equal(j->n_adapters, 0);
	assert_null(j->chat.format);
	assert_string_equal(j->model, "/srv/jobs/m");
	assert_string_equal(j->output, "/srv/jobs/o");
	assert_int_equal(j->seed, 0);
	assert_string_equal(j->backend, "auto");
	assert_int_equal(j->precision, CWJ_PRECISION_AUTO);
	assert_int_equal(j->limits.memory, 0);
	assert_int_equal(j->limits.threads, 0);
	assert_int_equal(j->limits.gpus, 1);
	assert_int_equal(j->n_sets, 0);
	assert_int_equal(j->has_score, 0);
	assert_int_equal(j->combine, CWJ_COMBINE_MEAN);
	assert_int_equal(j->utility, CWJ_UTILITY_ADD);
	assert_true(j->beta == 1.0);
	assert_int_equal(j->store_bf16, 0);
	assert_int_equal(j->scale_pilot, 0);
	assert_int_equal(j->has_protect, 0);
	assert_true(j->fraction == 0);
	assert_int_equal(j->scope, CWJ_SCOPE_GLOBAL);
	assert_int_equal(j->unit, CWJ_UNIT_WEIGHT);
	assert_int_equal(j->carrier, CWJ_CARRIER_OVERLAY);
	assert_int_equal(j->n_skip, 1);
	assert_string_equal(j->skip[0], "lm_head");
	assert_int_equal(j->format, CWJ_FORMAT_COMPRESSED_TENSORS);
	assert_int_equal(j->shard, UINT64_C(5000000000));
	assert_int_equal(j->n_evaluations, 0);
	assert_int_equal(j->n_gates, 0);
	cwj_job_free(j);
}

static void reads_non_inferiority(void **state)
{
	struct cwj_job *j = parse(change("worse-by-at-most: 1.0", "not-worse-by: 0.02"));
	json_t *json = cwj_job_json(j);
	const json_t *gates = json_object_get(json, "gate");

	(void)state;
	assert_int_equal(j->gates[0].kind, CWJ_GATE_NOT_WORSE_BY);
	assert_true(j->gates[0].confidence == 0.95 && j->gates[1].confidence == 0);
	assert_true(json_number_value(json_object_get(json_array_get(gates, 0), "confidence")) ==
		    0.95);
	assert_null(json_object_get(json_array_get(gates, 1), "confidence"));
	json_decref(json);
	cwj_job_free(j);
	j = parse(change("worse-by-at-most: 1.0", "confidence: 0.9, not-worse-by: 0"));
	assert_true(j->gates[0].confidence == 0.9 && j->gates[0].value == 0);
	cwj_job_free(j);
}

static void utility_follows_combine_unless_given(void **state)
{
	struct cwj_job *j = parse(change("combine: mean, utility: add", "combine: reference"));

	(void)state;
	assert_int_equal(j->combine, CWJ_COMBINE_REFERENCE);
	assert_int_equal(j->utility, CWJ_UTILITY_SUBTRACT);
	cwj_job_free(j);
	j = parse(change("combine: mean, utility: add", "utility: add, combine: reference"));
	assert_int_equal(j->utility, CWJ_UTILITY_ADD);
	cwj_job_free(j);
	j = parse(change("combine: mean, utility: add", "combine: rank"));
	assert_int_equal(j->utility, CWJ_UTILITY_ADD);
	cwj_job_free(j);
}

static void knows_every_choice(void **state)
{
	struct cwj_job *j = parse(
		"model: m\noutput: o\nprecision: bf16\nbackend: cuda:GPU-1a2b\nseed: "
		"9223372036854775807\nlimits: {gpu-memory: 24GiB, gpus: 16, gpu-wait: 5m}\n"
		"calibrate: {critical: [{name: a, data: samples, path: p}, {name: b, data: csv, "
		"path: q, as: refusals, charset: mac-roman, language: sw, refusal: No., columns: "
		"{prompt: Frage, id: 'No'}}]}\n"
		"score: {plugin: wanda, utility: ignore, store: bf16, scale: exact, beta: 1e-2}\n"
		"protect: {fraction: 1, scope: layer, unit: module, carrier: adapter}\n"
		"quantize: {plugin: fp8, skip: []}\n"
		"write: {format: gguf, shard: 1MB}\n"
		"evaluate: [{name: e, benchmark: b, path: p, options: {k: v}}]\n"
		"gate: [{metric: e.x, at-least: -0.5, than: quantized}, {metric: e.y.z, at-most: "
		"3}]\n");

	(void)state;
	assert_int_equal(j->precision, CWJ_PRECISION_BF16);
	assert_string_equal(j->backend, "cuda:GPU-1a2b");
	assert_int_equal(j->limits.gpu_memory, UINT64_C(24) << 30);
	assert_int_equal(j->limits.gpu_wait, 300);
	assert_int_equal(j->limits.gpus, 16);
	assert_true(j->limits.line > 1 && j->limits.column > 1);
	assert_int_equal(j->seed, INT64_MAX);
	assert_int_equal(j->utility, CWJ_UTILITY_IGNORE);
	assert_int_equal(j->sets[0].as, CWJ_AS_AUTO);
	assert_int_equal(j->sets[0].charset, CWJ_CHARSET_AUTO);
	assert_null(j->sets[0].language);
	assert_int_equal(j->sets[0].n_columns, 0);
	assert_int_equal(j->sets[1].as, CWJ_AS_REFUSALS);
	assert_int_equal(j->sets[1].charset, CWJ_CHARSET_MAC_ROMAN);
	assert_string_equal(j->sets[1].language, "sw");
	assert_string_equal(j->sets[1].refusal, "No.");
	assert_int_equal(j->sets[1].n_columns, 2);
	assert_string_equal(j->sets[1].columns[0].name, "prompt");
	assert_string_equal(j->sets[1].columns[0].value, "Frage");
	assert_string_equal(j->sets[1].columns[1].value, "No");
	assert_int_equal(j->store_bf16, 1);
	assert_int_equal(j->scale_pilot, 0);
	assert_true(j->beta == 0.01);
	assert_true(j->fraction == 1);
	assert_int_equal(j->scope, CWJ_SCOPE_LAYER);
	assert_int_equal(j->unit, CWJ_UNIT_MODULE);
	assert_int_equal(j->carrier, CWJ_CARRIER_ADAPTER);
	assert_int_equal(j->n_skip, 0);
	assert_int_equal(j->format, CWJ_FORMAT_GGUF);
	assert_int_equal(j->gates[0].kind, CWJ_GATE_AT_LEAST);
	assert_true(j->gates[0].value == -0.5);
	assert_int_equal(j->gates[0].than, CWJ_THAN_QUANTIZED);
	assert_int_equal(j->gates[1].kind, CWJ_GATE_AT_MOST);
	assert_string_equal(j->evaluations[0].options[0].value, "v");
	cwj_job_free(j);
	j = parse(change("combine: mean", "combine: mean, scale: pilot"));
	assert_int_equal(j->scale_pilot, 1);
	cwj_job_free(j);
	static const char *const formats[] = {
		"compressed-tensors", "bitsandbytes", "gptq", "fp8", "gguf", "dense"};
	static const char *const carriers[] = {"overlay", "none", "dense", "modules", "adapter"};
	static const char *const units[] = {"weight", "column", "row", "module"};
	char text[32];
	for (int i = 0; i < 6; i++) {
		j = parse(change("compressed-tensors", formats[i]));
		assert_int_equal(j->format, i);
		cwj_job_free(j);
		j = parse(change("overlay", carriers[i % 5]));
		assert_int_equal(j->carrier, i % 5);
		cwj_job_free(j);
		snprintf(text, sizeof(text), "unit: %s", units[i % 4]);
		j = parse(change("unit: weight", text));
		assert_int_equal(j->unit, i % 4);
		cwj_job_free(j);
	}
}

static void refuses_unknown_names_with_the_nearest(void **state)
{
	(void)state;
	refuse_with(change("fraction", "fracton"), CWP_EUNKNOWN, "protect.fracton", "fraction",
		"did you mean \"fraction\"");
	refuse_with(change("quantize:", "quantise:"), CWP_EUNKNOWN, "quantise", "quantize",
		"not a key here");
	refuse_with(change("samples: 128", "sample: 128"), CWP_EUNKNOWN,
		"calibrate.critical[0].sample", "samples", "");
	refuse_with(change("data: stereoset", "data: steroset"), CWP_EUNKNOWN,
		"calibrate.critical[1].data", "stereoset", "");
	refuse_with(change("carrier: overlay", "carrier: ovrlay"), CWP_EUNKNOWN, "protect.carrier",
		"overlay", "");
	refuse_with(change("compressed-tensors", "compressed_tensor"), CWP_EUNKNOWN, "write.format",
		"compressed-tensors", "");
	refuse_with(change("backend: auto", "backend: cpuu"), CWP_EUNKNOWN, "backend", "cpu", "");
	refuse_with(
		change("backend: auto", "backend: \"cuda:\""), CWP_EUNKNOWN, "backend", "cuda", "");
	refuse_with(change("bias.pct_stereotype", "bais.pct_stereotype"), CWP_EUNKNOWN,
		"gate[0].metric", "bias", "");
	refuse_with(change("at-most-times", "at_most_times"), CWP_EUNKNOWN, "gate[1].at_most_times",
		"at-most-times", "");
	/* Nothing near: all valid names are listed. */
	refuse_with(change("combine: mean", "combine: xyzzy"), CWP_EUNKNOWN, "score.combine", "",
		"write one of: mean, reference, rank");
	refuse_with(change("scope:", "zzz:"), CWP_EUNKNOWN, "protect.zzz", "",
		"write one of: fraction, at-most, bits, bytes, mask, combine-masks, super-weights, scope, unit");
	refuse_with(change("seed: 0", "\"\": 0"), CWP_EUNKNOWN, "", "", "not a key here");
}

static void refuses_wrong_types(void **state)
{
	(void)state;
	refuse_with("[model]", CWP_EVALUE, "", "", "needs a mapping, found a list");
	refuse_with("model", CWP_EVALUE, "", "", "needs a mapping, found the value \"model\"");
	refuse_with(change("seed: 0", "seed: [0]"), CWP_EVALUE, "seed", "", "found a list");
	refuse_with(change("seed: 0", "seed: {a: 0}"), CWP_EVALUE, "seed", "", "found a mapping");
	refuse_with(change("seed: 0", "seed: zero"), CWP_EVALUE, "seed", "",
		"\"zero\" is no whole number");
	refuse_with(change("seed: 0", "seed: \"0\""), CWP_EVALUE, "seed", "", "quoted \"0\"");
	refuse_with(change("seed: 0", "seed: 1.0"), CWP_EVALUE, "seed", "", "no whole number");
	refuse_with(change("seed: 0", "seed: 0x10"), CWP_EVALUE, "seed", "", "no whole number");
	refuse_with(change("seed: 0", "seed: 010"), CWP_EVALUE, "seed", "", "no whole number");
	refuse_with(change("seed: 0", "seed: -1"), CWP_EVALUE, "seed", "",
		"from 0 to 9223372036854775807");
	refuse_with(change("seed: 0", "seed: 9223372036854775808"), CWP_EVALUE, "seed", "",
		"out of range");
	refuse_with(change("seed: 0", "seed: 99999999999999999999999"), CWP_EVALUE, "seed", "",
		"out of range");
	refuse_with(change("seed: 0", "seed:"), CWP_EVALUE, "seed", "", "has no value");
	refuse_with(change("seed: 0", "seed: ~"), CWP_EVALUE, "seed", "", "has no value");
	refuse_with(change("limits: {memory: 4GiB, scratch: 20GiB, time: 2h, threads: 2}",
			    "limits: 4GiB"),
		CWP_EVALUE, "limits", "", "needs a mapping");
	refuse_with(change("memory: 4GiB", "memory: 4"), CWP_EVALUE, "limits.memory", "",
		"write a size such as 4GiB");
	refuse_with(change("memory: 4GiB", "memory: 4 GiB"), CWP_EVALUE, "limits.memory", "",
		"is no size");
	refuse_with(change("memory: 4GiB", "memory: 9999999999GiB"), CWP_EVALUE, "limits.memory",
		"", "too large");
	refuse_with(change("time: 2h", "time: 2GiB"), CWP_EVALUE, "limits.time", "", "is no time");
	refuse_with(change("threads: 2", "gpus: 0"), CWP_EVALUE, "limits.gpus", "", "whole number from 1 to 16");
	refuse_with(change("threads: 2", "gpus: 17"), CWP_EVALUE, "limits.gpus", "", "whole number from 1 to 16");
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\nbackend: cpu\nlimits:\n  gpus: 2\n", CWP_EVALUE, "limits.gpus", "",
		"2 GPUs are asked for, but backend: cpu uses none; write backend: cuda");
	refuse_with(change("threads: 2", "threads: 5000"), CWP_EVALUE, "limits.threads", "",
		"from 0 to 4096");
	refuse_with(change("skip: [lm_head]", "skip: lm_head"), CWP_EVALUE, "quantize.skip", "",
		"needs a list");
	refuse_with(change("skip: [lm_head]", "skip: [[lm_head]]"), CWP_EVALUE, "quantize.skip[0]",
		"", "found a list");
	refuse_with(change("skip: [lm_head]", "skip: [a, ~]"), CWP_EVALUE, "quantize.skip[1]", "",
		"needs a text");
	refuse_with(change("{bits: 4,", "{bits: [4],"), CWP_EVALUE, "quantize.options.bits", "",
		"not nested");
	refuse_with(change("{bits: 4,", "{bits: ,"), CWP_EVALUE, "quantize.options.bits", "",
		"has no value");
	refuse_with(change("options: {error-aware: true}", "options: [error-aware]"), CWP_EVALUE,
		"score.options", "", "needs a mapping");
	refuse_with(change("plugin: static", "plugin: ../static.so"), CWP_EVALUE, "quantize.plugin",
		"", "no valid name");
	refuse_with(change("plugin: static", "plugin: Static"), CWP_EVALUE, "quantize.plugin", "",
		"lower-case");
	refuse_with(change("name: safety", "name: a/b"), CWP_EVALUE, "calibrate.critical[0].name",
		"", "no valid name");
	refuse_with(change("shard: 5GB", "shard: 5KB"), CWP_EVALUE, "write.shard", "", "too small");
	refuse_with(change("beta: 1.0", "beta: -1"), CWP_EVALUE, "score.beta", "", "outside");
	refuse_with(
		change("beta: 1.0", "beta: .inf"), CWP_EVALUE, "score.beta", "", "is no number");
	refuse_with(change("at-most-times: 1.05", "at-most-times: 1e999"), CWP_EVALUE,
		"gate[1].at-most-times", "", "is no number");
}

static void refuses_fractions_out_of_range(void **state)
{
	static const char *const wrong[] = {"1.5", "-0.1", "1.0000001", "2", "1e3"};
	static const char *const strange[] = {
		"x", "0x1", "5%", "0.0.5", ".nan", "1e", ".", "0,05", "\"0.05\""};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "fraction: %s", wrong[i]);
		refuse_with(change("fraction: 0.05", text), CWP_EVALUE, "protect.fraction", "",
			"is outside 0..1");
	}
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		if (strchr(strange[i], ',') != NULL) {
			continue; /* a second key within {} */
		}
		snprintf(text, sizeof(text), "fraction: %s", strange[i]);
		refuse_with(change("fraction: 0.05", text), CWP_EVALUE, "protect.fraction", "",
			"is no number");
	}
	refuse_with(change("fraction: 0.05", "fraction: automatic"), CWP_EVALUE, "protect.fraction", "", "or auto");
	refuse_with(change("fraction: 0.05", "fraction: 0.05, at-most: 0.1"), CWP_EVALUE, "protect.at-most", "", "goes with fraction: auto");
	refuse_with(change("fraction: 0.05", "fraction: auto, at-most: 0"), CWP_EVALUE, "protect.at-most", "", "0 is not above 0");
	refuse_with(change("fraction: 0.05", "fraction: auto, at-most: 1.5"), CWP_EVALUE, "protect.at-most", "", "outside 0..1");
	struct cwb_err err = {0};
	struct cwj_job *job;
	const char *t = change("fraction: 0.05", "fraction: 1.5");
	assert_int_equal(cwj_job_parse(t, strlen(t), "/", &job, &err), CWP_EVALUE);
	assert_int_equal(err.line, 17);
	assert_int_equal(err.column, 22);
}

static void refuses_missing_keys(void **state)
{
	(void)state;
	refuse_with("output: o\nquantize: {plugin: static}\n", CWP_EMISSING, "model", "",
		"is required; name a model");
	refuse_with("model: m\nquantize: {plugin: static}\n", CWP_EMISSING, "output", "",
		"is required");
	refuse_with("model: m\noutput: o\n", CWP_EMISSING, "quantize", "",
		"quantize: {plugin: static}");
	refuse_with("model: m\noutput: o\nquantize: {}\n", CWP_EMISSING, "quantize.plugin", "",
		"is required");
	refuse_with(change("name: safety,", ""), CWP_EMISSING, "calibrate.critical[0].name", "",
		"is required");
	refuse_with(change("data: advbench,", ""), CWP_EMISSING, "calibrate.critical[0].data", "",
		"is required");
	refuse_with(change("fraction: 0.05, ", ""), CWP_EMISSING, "protect.fraction", "",
		"is required");
	refuse_with(
		change("plugin: fisher, ", ""), CWP_EMISSING, "score.plugin", "", "is required");
	refuse_with(change("limit: 500", "judge: {}"), CWP_EMISSING, "evaluate[0].judge.model", "",
		"name the model that judges answers");
	refuse_with(change("limit: 500", "judge: {path: /srv/judge}"), CWP_EUNKNOWN, "evaluate[0].judge.path",
		"", "model");
	refuse_with(change("benchmark: perplexity, ", ""), CWP_EMISSING, "evaluate[1].benchmark",
		"", "is required");
	refuse_with(change("worse-by-at-most: 1.0, ", ""), CWP_EMISSING, "gate[0]", "",
		"has no limit; write one of");
	refuse_with(change("metric: bias.pct_stereotype, ", ""), CWP_EMISSING, "gate[0].metric", "",
		"is required");
}

static void refuses_repeated_names(void **state)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	refuse_with(change("name: fairness", "name: safety"), CWP_EVALUE,
		"calibrate.critical[1].name", "", "already the name of the one in line 11");
	refuse_with(change("name: help", "name: safety"), CWP_EVALUE, "calibrate.utility[1].name",
		"", "line 11");
	refuse_with(change("name: help", "name: text"), CWP_EVALUE, "calibrate.utility[1].name", "",
		"line 14");
	refuse_with(
		change("name: ppl", "name: bias"), CWP_EVALUE, "evaluate[1].name", "", "line 21");
	const char *text = change("seed: 0", "model: other");
	assert_int_equal(cwj_job_parse(text, strlen(text), "/", &job, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 5);
	assert_non_null(
		strstr(err.message, "\"model\" stands here a second time (first in line 2)"));
}

static void refuses_what_does_not_fit_together(void **state)
{
	static const char plain[] = "model: m\noutput: o\nquantize: {plugin: static}\n";
	char text[1024];

	(void)state;
	snprintf(text, sizeof(text), "%sprotect: {fraction: 0.1}\n", plain);
	refuse_with(text, CWP_EMISSING, "score", "", "is required");
	snprintf(text, sizeof(text), "%sprotect: {fraction: 0}\n", plain);
	cwj_job_free(parse(text));
	snprintf(text, sizeof(text), "%sscore: {plugin: fisher}\n", plain);
	refuse_with(text, CWP_EMISSING, "calibrate", "", "is required");
	snprintf(text, sizeof(text), "%scalibrate: {critical: []}\n", plain);
	refuse_with(text, CWP_EMISSING, "calibrate", "", "has no sets");
	snprintf(text, sizeof(text), "%scalibrate: {}\n", plain);
	refuse_with(text, CWP_EMISSING, "calibrate", "", "has no sets");
	static const char only_utility[] =
		"calibrate: {utility: [{name: t, data: text, path: p}]}\n";
	snprintf(text, sizeof(text), "%s%sscore: {plugin: fisher, combine: reference}\n", plain,
		only_utility);
	refuse_with(text, CWP_EMISSING, "calibrate.critical", "", "is required");
	snprintf(text, sizeof(text), "%s%sscore: {plugin: fisher}\n", plain, only_utility);
	cwj_job_free(parse(text));
	snprintf(text, sizeof(text), "%sgate: [{metric: a.b, at-most: 1}]\n", plain);
	refuse_with(text, CWP_EMISSING, "gate[0].metric", "", "needs an evaluation");
	refuse_with(change("metric: bias.pct_stereotype", "metric: bias"), CWP_EVALUE,
		"gate[0].metric", "", "names no metric");
	refuse_with(change("metric: bias.pct_stereotype", "metric: bias."), CWP_EVALUE,
		"gate[0].metric", "", "names no metric");
	refuse_with(change("than: original", "at-most: 1"), CWP_EVALUE, "gate[0].at-most", "",
		"second limit");
	refuse_with(change("worse-by-at-most: 1.0", "not-worse-by: -1.0"), CWP_EVALUE, "gate[0]", "",
		"-1 is negative");
	refuse_with(change("worse-by-at-most: 1.0", "worse-by-at-most: 1.0, confidence: 0.9"),
		CWP_EVALUE, "gate[0]", "", "belongs to not-worse-by");
	refuse_with(change("worse-by-at-most: 1.0", "not-worse-by: 1.0, confidence: 1"), CWP_EVALUE,
		"gate[0].confidence", "", "0.5 to 0.9999");
	refuse_with(change("worse-by-at-most: 1.0", "worse-by-at-most: -1.0"), CWP_EVALUE,
		"gate[0]", "", "is negative");
	refuse_with("model: m\noutput: ./x/../m/\nquantize: {plugin: static}\n", CWP_EVALUE,
		"output", "", "is the model itself");
	refuse_with("model: m\nadapter: a\noutput: a\nquantize: {plugin: static}\n", CWP_EVALUE,
		"output", "", "is the adapter");
	refuse_with("model: m\nadapter: [b, ./a]\noutput: a\nquantize: {plugin: static}\n", CWP_EVALUE,
		"output", "", "is the adapter");
}

static void reads_adapters(void **state)
{
	static const char rest[] = "model: m\noutput: o\nquantize: {plugin: static}\n";
	char text[512], first[65], second[65];
	struct cwj_job *job;

	(void)state;
	snprintf(text, sizeof(text), "%sadapter: [b, ../a, /c]\n", rest);
	job = parse(text);
	assert_int_equal(job->n_adapters, 3);
	assert_string_equal(job->adapters[0], "/srv/jobs/b");
	assert_string_equal(job->adapters[1], "/srv/a");
	assert_string_equal(job->adapters[2], "/c");
	assert_int_equal(cwj_job_digest(job, first), 0);
	cwj_job_free(job);
	/* Their order is the order of merging. */
	snprintf(text, sizeof(text), "%sadapter: [../a, b, /c]\n", rest);
	job = parse(text);
	assert_int_equal(cwj_job_digest(job, second), 0);
	assert_string_not_equal(first, second);
	cwj_job_free(job);
	/* None is none, however it is written. */
	job = parse(rest);
	assert_int_equal(cwj_job_digest(job, first), 0);
	json_t *json = cwj_job_json(job);
	assert_null(json_object_get(json, "adapter"));
	json_decref(json);
	cwj_job_free(job);
	snprintf(text, sizeof(text), "%sadapter: []\n", rest);
	job = parse(text);
	assert_int_equal(job->n_adapters, 0);
	assert_int_equal(cwj_job_digest(job, second), 0);
	assert_string_equal(first, second);
	cwj_job_free(job);
}

static void refuses_adapters(void **state)
{
	static const struct {
		const char *adapter, *field, *part;
	} cases[] = {
		{"", "adapter", "has no value"},
		{"\"\"", "adapter", "an empty path"},
		{"~/a", "adapter", "~ is not expanded"},
		{"{a: b}", "adapter", "needs a folder or a list of folders, found a mapping"},
		{"[a, {b: c}]", "adapter[1]", "needs a text"},
		{"[a, ~]", "adapter[1]", "needs a text"},
		{"[a, \"\"]", "adapter[1]", "an empty path"},
		{"[a, b, ./a]", "adapter[2]", "\"/srv/jobs/a\" is listed twice"},
		{"[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]", "adapter",
			"at most 16"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text),
			"model: m\nadapter: %s\noutput: o\nquantize: {plugin: static}\n",
			cases[i].adapter);
		refuse_with(text, CWP_EVALUE, cases[i].field, "", cases[i].part);
	}
}

/* Names stay as they are; paths are told by a '/' or by .json, and become absolute. */
static void reads_chat_formats(void **state)
{
	static const struct {
		const char *value, *format;
	} cases[] = {{"auto", "auto"}, {"none", "none"}, {"qwen2.5", "qwen2.5"},
		{"mine.json", "/srv/jobs/mine.json"}, {"./mine", "/srv/jobs/mine"},
		{"../f/x.json", "/srv/f/x.json"}, {"/etc/x", "/etc/x"},
		{"\"a b.json\"", "/srv/jobs/a b.json"}};
	char text[256], digest[65], other[65];

	(void)state;
	struct cwj_job *j = parse(least);
	assert_int_equal(cwj_job_digest(j, digest), 0);
	cwj_job_free(j);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "%schat: %s\n", least, cases[i].value);
		j = parse(text);
		assert_string_equal(j->chat.format, cases[i].format);
		json_t *json = cwj_job_json(j);
		assert_string_equal(
			json_string_value(json_object_get(json, "chat")), cases[i].format);
		json_decref(json);
		assert_int_equal(cwj_job_digest(j, other), 0);
		assert_string_not_equal(digest, other);
		cwj_job_free(j);
	}
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\nchat: Llama3\n", CWP_EVALUE,
		"chat", "", "\"Llama3\" is no name; write auto, none, a chat format's name");
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\nchat: 'llama 3'\n",
		CWP_EVALUE, "chat", "", "\"llama 3\" is no name");
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\nchat: ''\n", CWP_EVALUE,
		"chat", "", "write auto, none");
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\nchat: [a]\n", CWP_EVALUE,
		"chat", "", "write auto, none");
	refuse_with("model: m\noutput: o\nquantize: {plugin: static}\n"
		    "chat: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
		CWP_EVALUE, "chat", "", "has 41 bytes");
}

static void refuses_hostile_texts(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		const char *part;
	} cases[] = {
		{"a: &a [x,x]\nb: [*a,*a,*a]\n", 0, "anchors"},
		{"\tmodel: m\n", 0, "tab"},
		{"model: \xff\n", 0, "UTF-8"},
		{"model: a\0b\n", 11, "NUL"},
		{"model: \"a\\0b\"\n", 0, "NUL"},
		{"", 0, "is empty"},
		{"model: m\n--- \nmodel: n\n", 0, "second document"},
	};
	char *large = malloc((1 << 20) + 1);
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t length = cases[i].length > 0 ? cases[i].length : strlen(cases[i].text);
		cwb_err_clear(&err);
		assert_int_equal(
			cwj_job_parse(cases[i].text, length, "/", &job, &err), CWP_EFORMAT);
		assert_non_null(strstr(err.message, cases[i].part));
		assert_true(err.line > 0);
	}
	memset(large, '#', (1 << 20) + 1);
	cwb_err_clear(&err);
	assert_int_equal(cwj_job_parse(large, (1 << 20) + 1, "/", &job, &err), CWP_EFORMAT);
	memset(large, '[', 100000);
	cwb_err_clear(&err);
	assert_int_equal(cwj_job_parse(large, 100000, "/", &job, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "32 levels"));
	free(large);
	refuse_with(change("name: smollm2-int4", "name: \"a\\nb\""), CWP_EVALUE, "name", "",
		"control characters");
	refuse_with(change("model: /srv/models/SmolLM2-135M", "model: \"/a\\eb\""), CWP_EVALUE,
		"model", "", "control characters");
	refuse_with(change("model: /srv/models/SmolLM2-135M", "model: \"\""), CWP_EVALUE, "model",
		"", "empty path");
	refuse_with(change("model: /srv/models/SmolLM2-135M", "model: ~/x"), CWP_EVALUE, "model",
		"", "not expanded");
	/* A long name is quoted in part, the path of the field stays bounded. */
	char name[6000] = "model: m\n";
	memset(name + 9, 'x', 5000);
	snprintf(name + 5009, sizeof(name) - 5009, ": 1\n");
	cwb_err_clear(&err);
	assert_int_equal(cwj_job_parse(name, strlen(name), "/", &job, &err),
		CWP_EFORMAT); /* libyaml's 1024 */
	memset(name + 9, 'x', 500);
	snprintf(name + 509, sizeof(name) - 509, ": 1\n");
	cwb_err_clear(&err);
	assert_int_equal(cwj_job_parse(name, strlen(name), "/", &job, &err), CWP_EUNKNOWN);
	assert_true(strlen(err.field) < 100);
	assert_int_equal(cwj_job_parse(least, strlen(least), "relative", &job, NULL), CWP_EVALUE);
	assert_null(job);
}

/* The JSON is a job file again, with everything filled in, and says the same. */
static void json_reads_back(void **state)
{
	const char *texts[] = {full, least};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cwj_job *a = parse(texts[i]);
		json_t *json = cwj_job_json(a);
		size_t length;
		char *text = cwb_json_dump(json, &length);
		struct cwj_job *b = NULL;
		struct cwb_err err = {0};
		int rc = cwj_job_parse(text, length, "/elsewhere", &b, &err);
		if (rc != 0) {
			fail_msg("%s\n%s", err.message, text);
		}
		json_t *again = cwj_job_json(b);
		assert_true(json_equal(json, again));
		char x[65], y[65];
		assert_int_equal(cwj_job_digest(a, x), 0);
		assert_int_equal(cwj_job_digest(b, y), 0);
		assert_string_equal(x, y);
		json_decref(json);
		json_decref(again);
		free(text);
		cwj_job_free(a);
		cwj_job_free(b);
	}
}

static void json_has_a_fixed_order(void **state)
{
	static const char *const order[] = {"model", "output", "seed", "backend", "precision",
		"limits", "quantize", "write", "evaluate", "gate"};
	struct cwj_job *job = parse(least);
	json_t *json = cwj_job_json(job);
	void *at = json_object_iter(json);

	(void)state;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		assert_non_null(at);
		assert_string_equal(json_object_iter_key(at), order[i]);
		at = json_object_iter_next(json, at);
	}
	assert_null(at);
	json_decref(json);
	cwj_job_free(job);
}

static void digest_is_of_what_decides_the_result(void **state)
{
	static const struct {
		const char *old, *new;
		int same;
	} cases[] = {
		{"name: smollm2-int4", "name: other", 1},
		{"output: /srv/models/out/smollm2-int4", "output: /elsewhere", 1},
		{"limits: {memory: 4GiB, scratch: 20GiB, time: 2h, threads: 2}", "limits: {}", 1},
		{"# sets whose", "#", 1},
		{"fraction: 0.05", "fraction: 5e-2", 1},
		{"shard: 5GB", "shard: 5000MB", 1},
		{"combine: mean, ", "", 1},
		{"fraction: 0.05", "fraction: 0.050001", 0},
		{"seed: 0", "seed: 1", 0},
		{"bits: 4", "bits: 8", 0},
		{"samples: 128", "samples: 127", 0},
		{"name: safety", "name: safe", 0},
		{"than: original", "than: quantized", 0},
		{"backend: auto", "backend: cpu", 0},
		{"adapter: /srv/models/my-lora", "adapter: [/srv/models/x/../my-lora]", 1},
		{"adapter: /srv/models/my-lora", "adapter: /srv/models/other", 0},
		{"adapter: /srv/models/my-lora", "adapter: [/srv/models/my-lora, b]", 0},
		{"adapter: /srv/models/my-lora", "", 0},
	};
	char base[65], other[65];
	struct cwj_job *job = parse(full);

	(void)state;
	assert_int_equal(cwj_job_digest(job, base), 0);
	assert_int_equal(strlen(base), 64);
	cwj_job_free(job);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		job = parse(change(cases[i].old, cases[i].new));
		assert_int_equal(cwj_job_digest(job, other), 0);
		if ((strcmp(base, other) == 0) != cases[i].same) {
			fail_msg("%s -> %s", cases[i].old, cases[i].new);
		}
		cwj_job_free(job);
	}
}

static void reads_files_relative_to_their_folder(void **state)
{
	char folder[] = "/tmp/cwj-job-XXXXXX", path[64], expected[80];
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/job.yaml", folder);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(least, f);
	fclose(f);
	assert_int_equal(cwj_job_read(path, &job, &err), 0);
	snprintf(expected, sizeof(expected), "%s/m", folder);
	assert_string_equal(job->model, expected);
	cwj_job_free(job);
	/* A relative name of the file. */
	char *cwd = getcwd(NULL, 0);
	assert_int_equal(chdir(folder), 0);
	job = NULL;
	assert_int_equal(cwj_job_read("job.yaml", &job, &err), 0);
	assert_string_equal(job->model, expected);
	cwj_job_free(job);
	assert_int_equal(chdir(cwd), 0);
	free(cwd);
	f = fopen(path, "a");
	assert_non_null(f);
	fputs("fraction: 1\n", f);
	fclose(f);
	job = NULL;
	assert_int_equal(cwj_job_read(path, &job, &err), CWP_EUNKNOWN);
	snprintf(expected, sizeof(expected), "%s:4:1: fraction: ", path);
	assert_memory_equal(err.message, expected, strlen(expected));
	unlink(path);
	rmdir(folder);
	cwb_err_clear(&err);
	assert_int_equal(cwj_job_read(path, &job, &err), -ENOENT);
	assert_null(job);
}

/* Numbers mean the same wherever the program runs. */
static void ignores_the_locale(void **state)
{
	(void)state;
	if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "fr_FR.UTF-8") == NULL) {
		skip();
	}
	struct cwj_job *job = parse(full);
	setlocale(LC_ALL, "C");
	assert_true(job->fraction == 0.05);
	cwj_job_free(job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(fills_in_the_defaults),
		cmocka_unit_test(reads_non_inferiority),
		cmocka_unit_test(utility_follows_combine_unless_given),
		cmocka_unit_test(knows_every_choice),
		cmocka_unit_test(refuses_unknown_names_with_the_nearest),
		cmocka_unit_test(refuses_wrong_types),
		cmocka_unit_test(refuses_fractions_out_of_range),
		cmocka_unit_test(refuses_missing_keys),
		cmocka_unit_test(refuses_repeated_names),
		cmocka_unit_test(refuses_what_does_not_fit_together),
		cmocka_unit_test(reads_chat_formats),
		cmocka_unit_test(reads_adapters),
		cmocka_unit_test(refuses_adapters),
		cmocka_unit_test(refuses_hostile_texts),
		cmocka_unit_test(json_reads_back),
		cmocka_unit_test(json_has_a_fixed_order),
		cmocka_unit_test(digest_is_of_what_decides_the_result),
		cmocka_unit_test(reads_files_relative_to_their_folder),
		cmocka_unit_test(ignores_the_locale),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
