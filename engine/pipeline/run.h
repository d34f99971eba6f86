/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The state of one run, shared by the stages. Private to this folder. */
#pragma once

#include <time.h>

#include <cwp/quantizer.h>
#include <cwp/scorer.h>

#include "base/cache.h"
#include "base/known.h"
#include "engine/calibrate/corpus.h"
#include "engine/format/output.h"
#include "engine/model/companions.h"
#include "engine/pipeline/pipeline.h"
#include "engine/select/select.h"
#include "engine/text/samples.h"

/* One decoder Linear. */
struct cwe_run_module {
	char name[CWE_MODULE_NAME_MAX];
	uint32_t layer;
	uint32_t linear;         /* number of the matrix in its layer */
	int first, last;         /* of its layer's modules */
	uint64_t rows, cols;
	int quantized;           /* not in quantize.skip */
	int kept;                /* quantized but for carrier modules, which keeps it whole */
	struct cwp_grid grid;
	uint64_t protected_weights; /* super weights that are protected only as such left out */
	uint64_t super_added;       /* those */
	uint64_t over_rank;         /* columns or rows that protect.over-rank left out */
};

/* A weight that is protected whatever its score (super.h, mask.h). */
struct cwe_super_weight {
	size_t module; /* among the run's */
	uint64_t row, col;
	float value;
	int selected;  /* without being one too */
};

/* A budget in bits or bytes; total 0 when there is none. */
struct cwe_budget {
	int files;      /* all files count, else codes, scales and protected weights */
	uint64_t fixed; /* bytes without any protection */
	uint64_t total;
};

struct cwe_stage_record {
	enum cwe_stage stage;
	double seconds;
	uint64_t tokens;
	uint64_t peak_memory;
};

/* Scores that jobs share (cache.h). */
struct cwe_run_cache {
	struct cwb_cache store; /* its folder is -1 where there is none */
	char key[65];
	int entry;              /* the folder of this run's entry, held; -1: none */
	int claim;              /* what tells others that this run makes it; -1: nothing */
};

/* The memory of a GPU, as planned (device.h); all 0 where memory is the host's. */
struct cwe_run_gpu {
	uint64_t bytes;  /* in all: least, with boundaries and what makes generation faster */
	uint64_t least;  /* own and alloc */
	uint64_t own;    /* the backend's */
	uint64_t alloc;  /* of alloc() without boundaries */
	struct cwp_backend_use use;
};

/* The GPUs of a job that asks for several (several.h); the first one is the run's device. */
struct cwe_run_several {
	uint32_t n; /* GPUs of the job, the first one counted; 0 on the CPU */
	struct cwp_backend_device found[CWJ_GPUS_MAX - 1]; /* [n - 1] the others */
	uint64_t smallest; /* bytes of memory of the smallest one of all */
	/* Planned for each of the others. */
	uint64_t least, room; /* bytes without boundaries, and those that these have there */
	struct cwp_backend_use use;
	struct cwe_companions open; /* while samples are divided */
};

/* What the evaluations ask, as their data says. */
struct cwe_run_asked {
	uint64_t requests, tokens; /* sequences that are scored, and their tokens, each beginning as often as it occurs */
	uint64_t most;             /* such tokens of one evaluation */
	uint64_t longest;          /* tokens of the longest */
	uint64_t drifts;           /* distributions */
	uint64_t generated;        /* new tokens at most */
	double rate[2];            /* measured floating-point operations a second: many rows, few rows; 0: not measured yet */
	double seconds;            /* of all models */
	json_t *each;              /* array of {name, benchmark, items, requests, too_long, tokens, generated, seconds}, judge
				    * where there is one */
};

struct cwe_run {
	const struct cwe_pipeline *p;
	const struct cwj_job *job;
	struct cwe_source *source;
	struct cwe_device device;
	struct cwe_model model;
	struct cwe_tokenizer *tokenizer; /* NULL when no part of the job needs one */
	struct cwe_chat *chat;           /* NULL when none is asked for, or none fits */
	int chat_looked;        /* calibration sets asked for it */
	int chat_evaluated;     /* evaluations did */
	json_t *warnings;       /* array of texts: what was assumed, for the plan, the log and the report */
	const struct cwe_plugin *scorer, *quantizer;
	struct cwp_setting *scorer_settings, *quantizer_settings;
	uint32_t needs; /* statistics for the scorer's score() */
	uint32_t quantizer_needs; /* and those for the quantizer's prepare(); 0: it is not calibrated */

	struct cwe_sample_set *set; /* [sets] */
	size_t sets;
	const char **item; /* [items] identities of what all sets hold, sorted; the texts are the samples' */
	size_t items;
	struct cwe_corpus corpus;
	struct cwe_run_module *module; /* [modules], layer by layer in the order of linears.h; routers are none */
	size_t modules;
	size_t *layer_at;       /* [layers + 1] first module of each layer */
	uint64_t weights;       /* in quantized modules */
	uint64_t largest;       /* weights of the largest module */
	uint64_t tallest, widest; /* most rows, most columns of a module */

	/* Score and selection. */
	double *set_loss;       /* [sets] mean loss of the samples; NaN where no gradients were asked for */
	double *set_sum;        /* [sets] total importance */
	double *set_factor;     /* [sets] signed, as combined */
	double *set_value;      /* [sets] total of what was combined: importances, or their ranks */
	const struct cwe_run_module **by_name; /* [modules] in the order of names, with saved masks; else NULL */
	struct cwe_saved_mask **saved; /* [n_saved] masks of earlier outputs, in the place of scores (masks.h) */
	size_t n_saved;
	int protecting;         /* some weights are to be protected */
	float *threshold;       /* [layers] of the combined score; all alike with scope global, NULL with scope row */
	uint64_t nonpositive;   /* weights with a score <= 0 */
	json_t *quantizer_notes; /* array of {module, note}: what the quantizer did in another way than asked; NULL: none */
	json_t *unseen;         /* array: names of experts that no token of any set reached; NULL: not scored */
	double fraction;        /* the job's, or the one that its budget allows */
	struct cwe_budget budget;
	struct cwe_super_weight *super; /* [supers] by module, row, column */
	size_t supers;
	int super_known;        /* they were looked for */

	/* Identity and results. */
	json_t *inputs;         /* object: path -> {size, sha256} */
	json_t *read;           /* object: paths that evaluators read besides their data -> null; NULL without evaluations */
	int unlisted;           /* one of them cannot be on that list */
	struct cwb_known known;   /* digests of inputs that are not read again; only while inputs are looked at */
	struct cwb_known written; /* digests of output files, computed while they were written */
	char identity[65];      /* digest of job and inputs: what scratch belongs to */
	int output_fd;          /* open and locked folder, -1 */
	int scratch_fd;         /* likewise */
	struct cwe_writer_adapter adapter; /* what was written, with carrier adapter */
	struct cwe_run_asked asked;
	json_t *evaluation;     /* array for the report */
	json_t *flipped;        /* array for the report */
	struct cwe_measured *measured; /* [measures] outcomes of the evaluations (measured.h) */
	size_t measures;
	json_t *gate;           /* array for the report */
	struct cwe_run_cache cache;
	int cached;             /* the scores came from there */
	uint64_t passes;        /* all samples through a layer or the head, in all attempts */
	int rejected;
	int ended;              /* an earlier attempt wrote the manifest: only the end is missing */
	struct cwe_bounds bounds;
	struct cwe_run_gpu gpu;
	int quantizes_there;    /* modules are quantized on the GPU (quantize_device.h), as planned */
	struct cwe_run_several several;
	uint64_t boundary_memory; /* bytes of boundaries that stay in the host's memory; more goes to scratch */
	uint64_t inside_memory; /* bytes of the host's memory for what is needed once more in a backward pass */
	uint64_t piece;         /* tokens of a piece of the samples at most */
	uint64_t beside;        /* bytes of texts beside the run's own: those of the model under test while a judge is at work */
	struct cwe_stage_record record[CWE_STAGES];
	size_t records;
	struct timespec stage_start;
};

/* Marks the end of the current stage in the records and starts the next; reports it. */
void cwe_run_stage(struct cwe_run *run, enum cwe_stage stage);
void cwe_run_stage_end(struct cwe_run *run);
void cwe_run_progress(struct cwe_run *run, enum cwe_stage stage, uint64_t done, uint64_t total, const char *unit);
int cwe_run_cancelled(struct cwe_run *run, struct cwb_err *err);

/* Adds a line to the warnings; 0 or -ENOMEM. */
int cwe_run_warn(struct cwe_run *run, struct cwb_err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Adds the place in the job file to an error that has none yet. Returns code. */
int cwe_run_place(struct cwb_err *err, int code, int line, int column, const char *field, const char *name);

/* Frees what the stages left. */
void cwe_run_close(struct cwe_run *run);
/* Stages, in their files. */
int cwe_run_open(struct cwe_run *run, struct cwb_err *err);  /* open.c */
int cwe_run_samples(struct cwe_run *run, struct cwb_err *err);                 /* open.c */
/* Refuses a utility set that is a critical one too, warns of a part, and lets plugins ask what is calibrated on. */
int cwe_run_overlap(struct cwe_run *run, struct cwb_err *err);                 /* overlap.c */
int cwe_run_inputs(struct cwe_run *run, struct cwb_err *err);                  /* inputs.c */
int cwe_run_output_open(struct cwe_run *run, struct cwb_err *err);             /* folder.c */
int cwe_run_output_check(struct cwe_run *run, struct cwb_err *err);            /* folder.c */
int cwe_run_output_end(struct cwe_run *run, struct cwb_err *err);              /* folder.c: CWP_EGATE where rejected */
int cwe_run_scratch_lock(struct cwe_run *run, struct cwb_err *err);            /* scratch.c: two jobs in one would take each other's files */
void cwe_run_scratch_clear(const struct cwe_run *run);                         /* scratch.c: everything of a run's goes */
void cwe_run_scratch_tidy(const struct cwe_run *run);                          /* scratch.c: what no later attempt goes on with */
int cwe_run_is_temporary(const char *name);                                    /* scratch.c: a file that was never finished */
void cwe_run_output_abandon(struct cwe_run *run, int code);                    /* folder.c: after an error */
int cwe_run_score(struct cwe_run *run, struct cwb_err *err);                   /* score.c: calibrate and score */
int cwe_run_select(struct cwe_run *run, struct cwb_err *err);                  /* selection.c */
/* The run's tiles on scratch. */
struct cwe_tiles;
int cwe_run_tiles(const struct cwe_run *run, struct cwe_tiles *ret, struct cwb_err *err); /* score.c */
/* Counts the ranks of all sets that have a part in the score. buffer: [largest module]. */
int cwe_run_ranks(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_combine *c, float *buffer, struct cwb_err *err); /* ranks.c */
int cwe_run_quantize(struct cwe_run *run, struct cwb_err *err);                /* quantize.c: quantize and write */
int cwe_run_evaluate(struct cwe_run *run, struct cwb_err *err);                /* evaluate.c */
int cwe_run_gate(struct cwe_run *run, struct cwb_err *err);                    /* gate.c */
int cwe_run_report(struct cwe_run *run, struct cwb_err *err);                  /* report.c */
/* Bytes that reports and manifest will take at most, beside n_files files. */
int cwe_run_report_bytes(struct cwe_run *run, size_t n_files, uint64_t *ret, struct cwb_err *err); /* report.c */
int cwe_run_bounds(struct cwe_run *run, struct cwe_bounds *ret, struct cwb_err *err); /* plan.c */

/* Weights of a layer's quantized modules. */
uint64_t cwe_run_layer_weights(const struct cwe_run *run, uint32_t layer); /* run.c */
/* Whether a module's codes are written. */
int cwe_run_module_coded(const struct cwe_run_module *m); /* run.c */
/* Whether some weights may come to be protected; whether they go into a dense output. */
int cwe_run_may_protect(const struct cwe_run *run); /* run.c */
int cwe_run_is_dense(const struct cwe_run *run);    /* run.c */
/* Bytes of a module's mask, and of the largest one. */
uint64_t cwe_run_module_mask_bytes(const struct cwe_run_module *m); /* run.c */
uint64_t cwe_run_mask_bytes(const struct cwe_run *run);             /* run.c */
/* A module's weight in the source, or NULL; and its rows [row, row + rows) as f32, [rows, cols]. run.c */
const struct cwe_tensor *cwe_run_module_tensor(const struct cwe_run *run, const struct cwe_run_module *m);
int cwe_run_module_read(const struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err);
/* All of its rows, by all threads. module_read.c */
int cwe_run_module_read_all(const struct cwe_run *run, const struct cwe_run_module *m, float *dst, struct cwb_err *err);

/* A tokenizer's tables, by entry of its vocabulary. */
#define CWE_TOKENIZER_BYTES 600ull

/* Memory of program, threads and texts, beside what a stage needs. */
uint64_t cwe_run_base_memory(const struct cwe_run *run); /* plan.c */

/* The modules as the writer wants them, and how it is to write; protecting: something is protected. The list is freed with
 * free(); NULL with err filled when memory is short. */
struct cwe_output_module *cwe_run_output_modules(const struct cwe_run *run, size_t *ret_count, struct cwb_err *err);
struct cwe_writer_options cwe_run_writer_options(const struct cwe_run *run, int protecting);

/* Rows that are quantized and scored at a time: fixed, so that threads never change a result. */
#define CWE_ROW_TILE 64

/* Rows of a module that are quantized together: those of whole blocks, or all, where they share scales. */
uint64_t cwe_run_tile_rows(const struct cwe_run_module *m);

/* Quantizes rows [row, row + rows) of a module's weights; mask may be NULL. Rows that share scales with others get those
 * that the rows at hand have alone. codes, scales, zeros: of these rows. */
int cwe_run_quantize_rows(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	const float *weight, const uint8_t *mask, uint64_t stride, uint8_t *codes, float *scales, int8_t *zeros);
/* The values that their codes stand for, [rows, cols]; ret may be weight. as_stored: as the output's file will have them. */
int cwe_run_requantize(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows, const float *weight,
	const uint8_t *mask, uint64_t stride, int as_stored, float *ret);
/* Q(W) - W of rows, nothing protected. error may not be weight. */
int cwe_run_quantize_error(struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	const float *weight, float *error);

/* Bytes of boundary activations that stay in memory on the CPU; more goes to scratch. It is part of the stated bound. */
#define CWE_BOUNDARY_MEMORY (128u << 20)
