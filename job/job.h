/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job file: what cwp-job(5) describes, as a checked structure. Knows names and ranges, opens no model and no
 * plugin: plugin options are kept as name and text, and are checked where the plugin is known. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum cwj_combine { CWJ_COMBINE_MEAN, CWJ_COMBINE_REFERENCE, CWJ_COMBINE_RANK };
enum cwj_utility { CWJ_UTILITY_ADD, CWJ_UTILITY_SUBTRACT, CWJ_UTILITY_IGNORE };
enum cwj_unit { CWJ_UNIT_WEIGHT, CWJ_UNIT_COLUMN, CWJ_UNIT_ROW, CWJ_UNIT_MODULE };
enum cwj_scope { CWJ_SCOPE_GLOBAL, CWJ_SCOPE_LAYER, CWJ_SCOPE_ROW };
enum cwj_combine_masks { CWJ_MASKS_UNION, CWJ_MASKS_INTERSECTION, CWJ_MASKS_DIFFERENCE };
enum cwj_over_rank { CWJ_OVER_RANK_REFUSE, CWJ_OVER_RANK_KEEP_BEST };
enum cwj_carrier { CWJ_CARRIER_OVERLAY, CWJ_CARRIER_NONE, CWJ_CARRIER_DENSE, CWJ_CARRIER_MODULES, CWJ_CARRIER_ADAPTER };
enum cwj_format { CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_FORMAT_BITSANDBYTES, CWJ_FORMAT_GPTQ, CWJ_FORMAT_FP8, CWJ_FORMAT_GGUF, CWJ_FORMAT_DENSE };
enum cwj_precision { CWJ_PRECISION_AUTO, CWJ_PRECISION_F32, CWJ_PRECISION_BF16 };
enum cwj_role { CWJ_ROLE_CRITICAL, CWJ_ROLE_UTILITY };
enum cwj_as { CWJ_AS_AUTO, CWJ_AS_TEXT, CWJ_AS_ANSWERS, CWJ_AS_PAIRS, CWJ_AS_REFUSALS };
enum cwj_charset { CWJ_CHARSET_AUTO, CWJ_CHARSET_UTF8, CWJ_CHARSET_MAC_ROMAN, CWJ_CHARSET_LATIN1 };
enum cwj_gate_kind { CWJ_GATE_AT_MOST, CWJ_GATE_AT_LEAST, CWJ_GATE_AT_MOST_TIMES, CWJ_GATE_WORSE_BY_AT_MOST,
	CWJ_GATE_NOT_WORSE_BY };
enum cwj_than { CWJ_THAN_ORIGINAL, CWJ_THAN_QUANTIZED };

struct cwj_option {
	char *name;
	char *value; /* as written: "4", "true", "group" */
	int line, column;
};

struct cwj_plugin_use {
	char *plugin; /* id, NULL when absent */
	size_t n_options;
	struct cwj_option *options;
	int line, column;
};

/* One calibration set. */
struct cwj_set {
	enum cwj_role role;
	char *name;
	char *data; /* kind of data: samples, text, pairs, answers, csv, json, jsonl, or a published set */
	char *path; /* absolute after cwj_job_parse */
	uint64_t samples; /* this many; 0: all */
	uint64_t length;  /* tokens a sample at most; 0: the kind's default */
	enum cwj_as as;   /* what is made of each record; auto: what the data is for */
	enum cwj_charset charset;
	char *language;   /* column of sets that have one for each; NULL: the default */
	char *refusal;    /* the answer of refusals; NULL: the default */
	size_t n_columns;
	struct cwj_option *columns; /* of data csv, json, jsonl: role to column */
	int line, column;
};

struct cwj_evaluation {
	char *name;
	char *benchmark; /* id of an evaluator plugin */
	char *path;      /* absolute */
	uint64_t limit;  /* items; 0: all */
	int has_judge;
	char *judge;     /* absolute path of the model that judges answers; NULL: none */
	size_t n_options;
	struct cwj_option *options;
	int line, column;
};

struct cwj_gate {
	char *metric; /* "<evaluation name>.<metric>", or with "/<group>" behind it */
	enum cwj_gate_kind kind;
	double value;
	double confidence; /* of not-worse-by; 0 with the others */
	enum cwj_than than;
	int line, column;
};

/* How conversations become text. */
struct cwj_chat {
	char *format; /* NULL or "auto": what the model shows; "none"; a format's name; absolute path of a format file */
	int line, column;
};

/* GPUs of one job at most. */
#define CWJ_GPUS_MAX 16

struct cwj_limits {
	uint64_t memory;  /* bytes; 0: not limited */
	uint64_t scratch; /* bytes; 0: not limited */
	uint32_t gpus;    /* of this host that the samples are divided among; default 1 */
	uint64_t gpu_memory; /* bytes, of each; 0: what the device has, but for a margin */
	uint64_t gpu_wait; /* seconds that an attempt waits for memory of the device that others hold; 0: it fails at once, and may be tried again */
	uint64_t time;    /* seconds; 0: not limited */
	uint32_t threads; /* 0: all that the process may use */
	int line, column;
};

struct cwj_job {
	char *name;      /* may be NULL */
	char *model;     /* absolute path */
	size_t n_adapters;
	char **adapters; /* absolute paths, merged in this order; none is listed twice */
	char *output;    /* absolute path */
	uint64_t seed;
	char *backend;   /* auto, cpu, cuda, cuda:UUID */
	enum cwj_precision precision;
	struct cwj_chat chat;
	struct cwj_limits limits;
	size_t n_sets;
	struct cwj_set *sets; /* critical sets first, in file order */
	int has_score;
	struct cwj_plugin_use score;
	enum cwj_combine combine;
	enum cwj_utility utility; /* default: add; subtract with combine reference */
	double beta;
	int store_bf16;   /* score.store: bf16 */
	int scale_pilot;  /* score.scale: pilot */
	int has_protect;
	double fraction;  /* 0 .. 1; 0 with another budget; with `search` at_most until one is found */
	int search;       /* fraction: auto: the least fraction that passes the gate is looked for */
	double at_most;   /* the largest that it may be */
	double bits;      /* per weight, as the output is stored; 0: not the budget */
	uint64_t bytes;   /* of all files of the output; 0: not the budget */
	size_t n_masks;
	char **masks;     /* absolute paths: whose masks are taken; none is listed twice */
	enum cwj_combine_masks combine_masks;
	int super_weights; /* look for them, and protect them on top */
	enum cwj_scope scope;
	enum cwj_unit unit;
	enum cwj_carrier carrier;
	uint64_t max_rank; /* of an adapter; 0: any */
	enum cwj_over_rank over_rank; /* what becomes of a module that needs a larger one */
	struct cwj_plugin_use quantize;
	size_t n_skip;
	char **skip;      /* quantize.skip; default lm_head */
	enum cwj_format format;
	uint64_t shard;   /* bytes; default 5 GB */
	size_t n_evaluations;
	struct cwj_evaluation *evaluations;
	size_t n_gates;
	struct cwj_gate *gates;
};

/* Parses and checks a job file. directory: absolute, for relative paths. No file is opened. *ret is freed with
 * cwj_job_free. Errors: CWP_EFORMAT (not YAML), CWP_EUNKNOWN (key or name, nearest filled), CWP_EVALUE (type or
 * range), CWP_EMISSING (required key); err has line, column, field, nearest, and a message "<field>: <what and remedy>". [any-thread] */
int cwj_job_parse(const char *text, size_t length, const char *directory, struct cwj_job **ret, struct cwb_err *err);

/* Reads at most 1 MiB from path and parses it; relative paths are relative to the file's own folder.
 * The messages of errors begin with "<path>:<line>:<column>: ". */
int cwj_job_read(const char *path, struct cwj_job **ret, struct cwb_err *err);
void cwj_job_free(struct cwj_job *job);

/* The job with all defaults filled in, keys in a fixed order: for the store, reports and digests. A new reference;
 * NULL only when memory ran out. */
json_t *cwj_job_json(const struct cwj_job *job);

/* Whether this is a backend as a job names it: auto, cpu, cuda, cuda:UUID. */
int cwj_backend_is_known(const char *text);

/* Whether some weights are to be protected, and whether a score chooses which. */
int cwj_job_protects(const struct cwj_job *job);
int cwj_job_selects(const struct cwj_job *job);

/* SHA-256 (hexadecimal, 64 + NUL) of what decides the result: cwj_job_json without name, output, limits and
 * backend threads. */
int cwj_job_digest(const struct cwj_job *job, char ret_hex[65]);
