/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every key of the job file, with its values (the default first) and its place in the structure. */
#include <math.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"

#define JOB(field) offsetof(struct cwj_draft, job.field)
#define LARGEST UINT64_C(0x7fffffffffffffff)
#define MOST_ITEMS UINT64_C(0x7fffffff)

static const char *const precisions[] = {"auto", "f32", "bf16", NULL};
static const char *const combines[] = {"mean", "reference", "rank", NULL};
static const char *const utilities[] = {"add", "subtract", "ignore", NULL};
static const char *const stores[] = {"f32", "bf16", NULL};
static const char *const scales[] = {"exact", "pilot", NULL};
static const char *const scopes[] = {"global", "layer", "row", NULL};
static const char *const over_ranks[] = {"refuse", "keep-best", NULL};
static const char *const units[] = {"weight", "column", "row", "module", NULL};
static const char *const combine_masks[] = {"union", "intersection", "difference", NULL};
static const char *const carriers[] = {"overlay", "none", "dense", "modules", "adapter", NULL};
static const char *const formats[] = {
	"compressed-tensors", "bitsandbytes", "gptq", "fp8", "gguf", "dense", NULL};
static const char *const as_kinds[] = {"auto", "text", "answers", "pairs", "refusals", NULL};
static const char *const charsets[] = {"auto", "utf-8", "mac-roman", "latin-1", NULL};
static const char *const thans[] = {"original", "quantized", NULL};

/* General shapes first, then the published sets that have a reader of their own. */
static const char *const data_kinds[] = {"samples", "text", "pairs", "answers", "csv", "json",
	"jsonl", "instructions",
	"advbench", "bbh", "bbq", "crows-pairs", "harmbench", "harmless-instructions", "mbbq",
	"mmlu", "multijail", "refusal-pairs", "stereoset", "strongreject", "ud-text", "wikitext2",
	"xsafety", "xstest", NULL};

static const struct cwj_key limit_keys[] = {
	{.name = "memory", .kind = CWJ_SIZE, .offset = offsetof(struct cwj_limits, memory)},
	{.name = "scratch", .kind = CWJ_SIZE, .offset = offsetof(struct cwj_limits, scratch)},
	{.name = "gpus", .kind = CWJ_SMALL, .offset = offsetof(struct cwj_limits, gpus), .low = 1, .high = CWJ_GPUS_MAX},
	{.name = "gpu-memory", .kind = CWJ_SIZE, .offset = offsetof(struct cwj_limits, gpu_memory)},
	{.name = "gpu-wait", .kind = CWJ_TIME, .offset = offsetof(struct cwj_limits, gpu_wait)},
	{.name = "time", .kind = CWJ_TIME, .offset = offsetof(struct cwj_limits, time)},
	{.name = "threads",
		.kind = CWJ_SMALL,
		.offset = offsetof(struct cwj_limits, threads),
		.high = 4096},
	{0},
};
static const struct cwj_table limit_table = {.keys = limit_keys,
	.size = sizeof(struct cwj_limits),
	.place = offsetof(struct cwj_limits, line) + 1};

static const struct cwj_key set_keys[] = {
	{.name = "name",
		.kind = CWJ_LABEL,
		.required = 1,
		.offset = offsetof(struct cwj_set, name)},
	{.name = "data",
		.kind = CWJ_WORD,
		.required = 1,
		.offset = offsetof(struct cwj_set, data),
		.names = data_kinds},
	{.name = "path", .kind = CWJ_PATH, .required = 1, .offset = offsetof(struct cwj_set, path)},
	{.name = "samples",
		.kind = CWJ_COUNT,
		.offset = offsetof(struct cwj_set, samples),
		.high = MOST_ITEMS},
	{.name = "length",
		.kind = CWJ_COUNT,
		.offset = offsetof(struct cwj_set, length),
		.high = MOST_ITEMS},
	{.name = "as",
		.kind = CWJ_CHOICE,
		.offset = offsetof(struct cwj_set, as),
		.names = as_kinds},
	{.name = "charset",
		.kind = CWJ_CHOICE,
		.offset = offsetof(struct cwj_set, charset),
		.names = charsets},
	{.name = "language",
		.kind = CWJ_LABEL,
		.offset = offsetof(struct cwj_set, language)},
	{.name = "refusal",
		.kind = CWJ_TEXT,
		.offset = offsetof(struct cwj_set, refusal),
		.low = 1,
		.high = 1000,
		.remedy = "write the answer that a prompt should get"},
	{.name = "columns",
		.kind = CWJ_OPTIONS,
		.offset = offsetof(struct cwj_set, columns),
		.count = offsetof(struct cwj_set, n_columns)},
	{0},
};
static const struct cwj_table set_table = {.keys = set_keys,
	.size = sizeof(struct cwj_set),
	.place = offsetof(struct cwj_set, line) + 1};

static const struct cwj_key calibrate_keys[] = {
	{.name = "critical",
		.kind = CWJ_LIST,
		.offset = offsetof(struct cwj_draft, critical),
		.count = offsetof(struct cwj_draft, n_critical),
		.high = 64,
		.table = &set_table},
	{.name = "utility",
		.kind = CWJ_LIST,
		.offset = offsetof(struct cwj_draft, utility),
		.count = offsetof(struct cwj_draft, n_utility),
		.high = 64,
		.table = &set_table},
	{0},
};
static const struct cwj_table calibrate_table = {
	.keys = calibrate_keys, .size = sizeof(struct cwj_draft)};

static const struct cwj_key score_keys[] = {
	{.name = "plugin", .kind = CWJ_ID, .required = 1, .offset = JOB(score.plugin)},
	{.name = "combine", .kind = CWJ_CHOICE, .offset = JOB(combine), .names = combines},
	{.name = "utility", .kind = CWJ_CHOICE, .offset = JOB(utility), .names = utilities},
	{.name = "beta", .kind = CWJ_NUMBER, .offset = JOB(beta), .least = 0, .most = 1e6},
	{.name = "store", .kind = CWJ_CHOICE, .offset = JOB(store_bf16), .names = stores},
	{.name = "scale", .kind = CWJ_CHOICE, .offset = JOB(scale_pilot), .names = scales},
	{.name = "options",
		.kind = CWJ_OPTIONS,
		.offset = JOB(score.options),
		.count = JOB(score.n_options)},
	{0},
};
static const struct cwj_table score_table = {
	.keys = score_keys, .size = sizeof(struct cwj_draft), .place = JOB(score.line) + 1};

static const struct cwj_key protect_keys[] = {
	{.name = "fraction",
		.kind = CWJ_CUSTOM,
		.offset = JOB(fraction),
		.least = 0,
		.most = 1,
		.remedy = "write a share of the weights from 0 to 1, such as 0.05, or auto",
		.custom = &cwj_fraction},
	{.name = "at-most",
		.kind = CWJ_CUSTOM,
		.least = 0,
		.most = 1,
		.remedy = "write the largest fraction that may be protected, such as 0.2",
		.custom = &cwj_at_most},
	{.name = "bits",
		.kind = CWJ_CUSTOM,
		.least = 0,
		.most = 64,
		.remedy = "write the bits a weight that the output may take, such as 5.2",
		.custom = &cwj_budget_bits},
	{.name = "bytes",
		.kind = CWJ_CUSTOM,
		.low = 1,
		.remedy = "write the size that the output may have, such as 120MB",
		.custom = &cwj_budget_bytes},
	{.name = "mask",
		.kind = CWJ_CUSTOM,
		.high = 16,
		.remedy = "write the folder of an earlier output, or a list of folders such as [first, second]",
		.custom = &cwj_masks},
	{.name = "combine-masks",
		.kind = CWJ_CHOICE,
		.offset = JOB(combine_masks),
		.names = combine_masks},
	{.name = "super-weights", .kind = CWJ_SWITCH, .offset = JOB(super_weights)},
	{.name = "scope", .kind = CWJ_CHOICE, .offset = JOB(scope), .names = scopes},
	{.name = "unit", .kind = CWJ_CHOICE, .offset = JOB(unit), .names = units},
	{.name = "carrier", .kind = CWJ_CHOICE, .offset = JOB(carrier), .names = carriers},
	{.name = "max-rank",
		.kind = CWJ_COUNT,
		.offset = JOB(max_rank),
		.high = 65536,
		.remedy = "write the largest rank that the engine takes, such as 64, or 0 for any"},
	{.name = "over-rank", .kind = CWJ_CHOICE, .offset = JOB(over_rank), .names = over_ranks},
	{0},
};
static const struct cwj_table protect_table = {
	.keys = protect_keys, .size = sizeof(struct cwj_draft)};

static const struct cwj_key quantize_keys[] = {
	{.name = "plugin", .kind = CWJ_ID, .required = 1, .offset = JOB(quantize.plugin)},
	{.name = "skip",
		.kind = CWJ_TEXTS,
		.offset = JOB(skip),
		.count = JOB(n_skip),
		.high = 1024,
		.remedy = "write the name of a module, such as lm_head"},
	{.name = "options",
		.kind = CWJ_OPTIONS,
		.offset = JOB(quantize.options),
		.count = JOB(quantize.n_options)},
	{0},
};
static const struct cwj_table quantize_table = {
	.keys = quantize_keys, .size = sizeof(struct cwj_draft), .place = JOB(quantize.line) + 1};

static const struct cwj_key write_keys[] = {
	{.name = "format", .kind = CWJ_CHOICE, .offset = JOB(format), .names = formats},
	{.name = "shard", .kind = CWJ_SIZE, .offset = JOB(shard), .low = 1000000},
	{0},
};
static const struct cwj_table write_table = {.keys = write_keys, .size = sizeof(struct cwj_draft)};

static const struct cwj_key judge_keys[] = {
	{.name = "model",
		.kind = CWJ_PATH,
		.required = 1,
		.offset = offsetof(struct cwj_evaluation, judge),
		.remedy = "name the model that judges answers: a Hugging Face directory or a .gguf file"},
	{0},
};
static const struct cwj_table judge_table = {
	.keys = judge_keys, .size = sizeof(struct cwj_evaluation)};

static const struct cwj_key evaluation_keys[] = {
	{.name = "name",
		.kind = CWJ_LABEL,
		.required = 1,
		.offset = offsetof(struct cwj_evaluation, name)},
	{.name = "benchmark",
		.kind = CWJ_ID,
		.required = 1,
		.offset = offsetof(struct cwj_evaluation, benchmark)},
	{.name = "path",
		.kind = CWJ_PATH,
		.required = 1,
		.offset = offsetof(struct cwj_evaluation, path)},
	{.name = "limit",
		.kind = CWJ_COUNT,
		.offset = offsetof(struct cwj_evaluation, limit),
		.high = MOST_ITEMS},
	{.name = "judge",
		.kind = CWJ_MAPPING,
		.present = offsetof(struct cwj_evaluation, has_judge),
		.table = &judge_table},
	{.name = "options",
		.kind = CWJ_OPTIONS,
		.offset = offsetof(struct cwj_evaluation, options),
		.count = offsetof(struct cwj_evaluation, n_options)},
	{0},
};
static const struct cwj_table evaluation_table = {.keys = evaluation_keys,
	.size = sizeof(struct cwj_evaluation),
	.place = offsetof(struct cwj_evaluation, line) + 1};

#define GATE_LIMIT(the_name, the_kind)                                                             \
	{                                                                                          \
		.name = (the_name), .kind = CWJ_CUSTOM, .least = -1e12, .most = 1e12,              \
		.custom = &cwj_gate_limit, .tag = (the_kind)                                       \
	}

static const struct cwj_key gate_keys[] = {
	{.name = "metric",
		.kind = CWJ_TEXT,
		.required = 1,
		.offset = offsetof(struct cwj_gate, metric),
		.high = 200,
		.remedy = "write <name of an evaluation>.<metric>, such as bias.pct_stereotype"},
	GATE_LIMIT("at-most", CWJ_GATE_AT_MOST),
	GATE_LIMIT("at-least", CWJ_GATE_AT_LEAST),
	GATE_LIMIT("at-most-times", CWJ_GATE_AT_MOST_TIMES),
	GATE_LIMIT("worse-by-at-most", CWJ_GATE_WORSE_BY_AT_MOST),
	GATE_LIMIT("not-worse-by", CWJ_GATE_NOT_WORSE_BY),
	{.name = "confidence",
		.kind = CWJ_CUSTOM,
		.offset = offsetof(struct cwj_gate, confidence),
		.least = 0.5,
		.most = 0.9999,
		.custom = &cwj_gate_confidence},
	{.name = "than",
		.kind = CWJ_CHOICE,
		.offset = offsetof(struct cwj_gate, than),
		.names = thans},
	{0},
};
const struct cwj_table cwj_gate_table = {.keys = gate_keys,
	.size = sizeof(struct cwj_gate),
	.place = offsetof(struct cwj_gate, line) + 1,
	.fill = cwj_gate_fill,
	.check = cwj_gate_check};

/* A mapping without an offset of its own: its keys go into the same structure. */
static const struct cwj_key job_keys[] = {
	{.name = "name", .kind = CWJ_TEXT, .offset = JOB(name), .high = 200},
	{.name = "model",
		.kind = CWJ_PATH,
		.required = 1,
		.offset = JOB(model),
		.remedy = "name a model: a Hugging Face directory or a .gguf file"},
	{.name = "adapter",
		.kind = CWJ_CUSTOM,
		.high = 16,
		.remedy = "write a folder, or a list of folders such as [first, second]",
		.custom = &cwj_adapters},
	{.name = "output",
		.kind = CWJ_PATH,
		.required = 1,
		.offset = JOB(output),
		.remedy = "name a directory that does not exist yet"},
	{.name = "seed", .kind = CWJ_COUNT, .offset = JOB(seed), .high = LARGEST},
	{.name = "backend",
		.kind = CWJ_TEXT,
		.offset = JOB(backend),
		.high = 80,
		.check = cwj_backend_check},
	{.name = "precision", .kind = CWJ_CHOICE, .offset = JOB(precision), .names = precisions},
	{.name = "chat",
		.kind = CWJ_CUSTOM,
		.offset = JOB(chat),
		.remedy = "write auto, none, a chat format's name such as llama3, or the path of a "
			  "format file (with a '/', or ending in .json)",
		.custom = &cwj_chat_format},
	{.name = "limits", .kind = CWJ_MAPPING, .offset = JOB(limits), .table = &limit_table},
	{.name = "calibrate",
		.kind = CWJ_MAPPING,
		.present = offsetof(struct cwj_draft, has_calibrate),
		.table = &calibrate_table},
	{.name = "score", .kind = CWJ_MAPPING, .present = JOB(has_score), .table = &score_table},
	{.name = "protect",
		.kind = CWJ_MAPPING,
		.present = JOB(has_protect),
		.table = &protect_table},
	{.name = "quantize",
		.kind = CWJ_MAPPING,
		.required = 1,
		.table = &quantize_table,
		.remedy = "name at least a quantizer: quantize: {plugin: static}"},
	{.name = "write", .kind = CWJ_MAPPING, .table = &write_table},
	{.name = "evaluate",
		.kind = CWJ_LIST,
		.offset = JOB(evaluations),
		.count = JOB(n_evaluations),
		.high = 64,
		.table = &evaluation_table},
	{.name = "gate",
		.kind = CWJ_LIST,
		.offset = JOB(gates),
		.count = JOB(n_gates),
		.high = 64,
		.table = &cwj_gate_table},
	{.name = "matrix", .kind = CWJ_CUSTOM, .custom = &cwj_matrix_refused},
	{0},
};

const struct cwj_table cwj_job_table = {.keys = job_keys,
	.size = sizeof(struct cwj_draft),
	.fill = cwj_job_fill,
	.check = cwj_job_check};
