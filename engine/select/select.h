/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Importance of each set -> combined score -> exact global threshold -> mask. Streams tiles: a pass over all
 * scored modules at a time, never all scores in memory. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "job/job.h"

/* The rank of an importance in its set, within 0 .. 1: the share of the set's weights that lie below it, with
 * score.combine: rank. Importances, as integers of the same order, fall into 2^20 bins (sign, exponent and the first 11
 * bits of the fraction); with b weights in lower bins and c in its own, the rank of an importance whose 12 lower bits are
 * m is (b + c (m + 1/2) / 4096) / n. So equal importances have one rank, larger ones none that is less, and a rank is off
 * from the true share by the bin's own share at most. Usage: begin, feed all values, finish, then of. */
#define CWE_RANK_BITS 20
/* Bytes of a finished set, and what counting one takes more. */
#define CWE_RANK_BYTES (((UINT64_C(1) << CWE_RANK_BITS) + 1) * sizeof(uint64_t))
struct cwe_rank {
	uint64_t *below;  /* [2^20 + 1] once finished: weights in the bins below each */
	uint64_t *moment; /* [2^20] while counting */
	uint64_t total;
	double sum;       /* of the ranks of all weights, once finished */
};
int cwe_rank_begin(struct cwe_rank *ret, struct cwb_err *err);
/* Values are finite. Not concurrently. */
void cwe_rank_feed(struct cwe_rank *r, const float *value, uint64_t n);
void cwe_rank_finish(struct cwe_rank *r);
/* [any-thread] after cwe_rank_finish, of a value that was fed. */
double cwe_rank_of(const struct cwe_rank *r, float value);
void cwe_rank_end(struct cwe_rank *r);

/* How sets are combined into one score: sum over critical sets of factor * importance, plus sign * beta times the
 * sum over utility sets. mean: factor = 1 / mean importance of that set over all scored weights; reference: 1; rank: 1,
 * and each importance is replaced by its rank. */
struct cwe_combine {
	uint32_t sets;
	double *factor; /* [sets], already signed: 0 for ignored utility sets */
	struct cwe_rank *rank; /* [sets] with combine rank, to be counted by the caller; else NULL */
};

/* sum [sets]: total importance of each set over all weights (f64, fixed order), count: number of weights.
 * CWP_ENUMBER when a set's total is zero, negative, NaN or infinite and mean needs it (names the set). */
int cwe_combine_make(const struct cwj_job *job, const double *sum, uint64_t count, struct cwe_combine *ret, struct cwb_err *err);
void cwe_combine_free(struct cwe_combine *c);
/* score[i] = sum over sets of factor[s] * importance[s][i], or its rank, in f64, rounded once. [any-thread] */
void cwe_combine_apply(const struct cwe_combine *c, const float *const *importance, uint64_t n, float *score);

/* What is protected together (doc/method.md section 6). Replaces each score [rows, cols] by the mean over its column or row;
 * leaves single weights alone, and modules, whose mean spans several matrices. sum [cols] is scratch. Sums in f64, in the
 * order of the rows. [any-thread] */
void cwe_unit_spread(enum cwj_unit unit, uint64_t rows, uint64_t cols, double *sum, float *score);
/* Sum in f64, in order. [any-thread] */
double cwe_unit_sum(const float *score, uint64_t n);

/* An exact k-th largest of a stream of f32 in passes of a radix histogram: 3 passes of 11, 11 and 10 bits over the
 * order-preserving integer of each value. Usage: cwe_threshold_begin; for each pass until cwe_threshold_next
 * returns 0: feed every value again in any order. NaN is refused; -0 and 0 are the same. */
#define CWE_THRESHOLD_BUCKETS 2048
struct cwe_threshold {
	uint64_t k;     /* 1 .. number of values */
	uint32_t pass;
	uint32_t prefix; /* bits fixed so far */
	uint64_t above; /* values above the candidates */
	uint64_t seen;
	uint64_t *histogram; /* [2048] */
	int nan;
	uint64_t total; /* values of the first pass; each pass must see as many */
	uint64_t ties;
};
int cwe_threshold_begin(struct cwe_threshold *t, uint64_t k, struct cwb_err *err);
/* Adds n values. Not concurrently; see cwe_threshold_count for tiles counted elsewhere. */
void cwe_threshold_feed(struct cwe_threshold *t, const float *value, uint64_t n);
/* A share of one pass, counted beside others: start it zeroed, count values into it, then add it. */
struct cwe_threshold_part {
	uint64_t histogram[CWE_THRESHOLD_BUCKETS];
	uint64_t seen;
	int nan;
};
/* [any-thread], with a part of its own for each thread. */
void cwe_threshold_count(const struct cwe_threshold *t, const float *value, uint64_t n, struct cwe_threshold_part *part);
void cwe_threshold_add(struct cwe_threshold *t, const struct cwe_threshold_part *part);
/* 1: another pass is needed; 0: done; negative: error. */
int cwe_threshold_next(struct cwe_threshold *t, struct cwb_err *err);
/* After the last pass: the k-th largest value; *ret_ties: how many values equal it, *ret_above: how many are greater. */
float cwe_threshold_value(const struct cwe_threshold *t, uint64_t *ret_above, uint64_t *ret_ties);
void cwe_threshold_end(struct cwe_threshold *t);

/* A lower bound of the k-th largest of all scores while they come, layer by layer: the lower edge of the bin (as those of
 * ranks) that holds the k-th largest so far. It only rises, and depends on the scores alone, not on their order. Usage: begin,
 * then count, raise and ask as often as needed, end. */
struct cwe_floor {
	uint64_t k;
	uint32_t bin;    /* of the k-th largest so far */
	uint64_t kept;   /* scores in it and above */
	atomic_uint_least64_t *count; /* [2^20] */
};
int cwe_floor_begin(struct cwe_floor *ret, uint64_t k, struct cwb_err *err);
/* Counts finite scores, of which those below an earlier floor may be left out; returns how many took part. The floor stays.
 * [any-thread] */
uint64_t cwe_floor_count(const struct cwe_floor *f, const float *score, uint64_t n);
/* Takes in what was counted since the last time, so many that took part. Not beside anything else. */
void cwe_floor_raise(struct cwe_floor *f, uint64_t counted);
/* -INFINITY before k scores were fed. */
float cwe_floor_value(const struct cwe_floor *f);
void cwe_floor_end(struct cwe_floor *f);

/* What an overlay (doc/overlay.md) would hold under each of several thresholds: protected weights, and escapes among the
 * gaps between them. */
#define CWE_SIZES_MOST 63
struct cwe_sizes {
	uint64_t values[CWE_SIZES_MOST], escapes[CWE_SIZES_MOST];
};
/* Adds the rows of a score [rows, cols]. threshold [n]: ascending, n <= CWE_SIZES_MOST; a weight is protected as
 * cwe_mask_fill has it. [any-thread], with sizes of its own for each thread */
void cwe_sizes_add(const float *score, uint64_t rows, uint64_t cols, const float *threshold, uint32_t n,
	struct cwe_sizes *sizes);

/* Several exact k-th largest of one stream, k from 0 to the number of values (0: INFINITY), none of them NaN. Usage: zeroed,
 * begin; feed every value for each pass until next returns 0; value; begin again or end. */
#define CWE_THRESHOLDS_PREFIXES (1u << 22)
#define CWE_THRESHOLDS_BYTES (CWE_THRESHOLDS_PREFIXES + CWE_SIZES_MOST * CWE_THRESHOLD_BUCKETS * sizeof(uint64_t))
struct cwe_thresholds {
	uint32_t n, pass, groups;
	uint64_t seen;
	uint64_t k[CWE_SIZES_MOST], above[CWE_SIZES_MOST];
	uint32_t prefix[CWE_SIZES_MOST], group[CWE_SIZES_MOST];
	uint64_t (*histogram)[CWE_THRESHOLD_BUCKETS]; /* [CWE_SIZES_MOST] of the groups */
	uint8_t *group_of; /* [CWE_THRESHOLDS_PREFIXES] by a key's upper bits */
};
int cwe_thresholds_begin(struct cwe_thresholds *t, const uint64_t *k, uint32_t n, struct cwb_err *err);
/* Not concurrently. */
void cwe_thresholds_feed(struct cwe_thresholds *t, const float *value, uint64_t n);
/* 1: another pass is needed; 0: done; negative: error. */
int cwe_thresholds_next(struct cwe_thresholds *t, struct cwb_err *err);
float cwe_thresholds_value(const struct cwe_thresholds *t, uint32_t i);
void cwe_thresholds_end(struct cwe_thresholds *t); /* also fine on a zeroed one */

/* Each score of the rows becomes minus the number of scores in its row that are greater: those that a row's threshold takes
 * with a budget of k are those >= 1 - k. cols: up to 2^24. spare [cols]. [any-thread] */
void cwe_row_places(float *score, uint64_t rows, uint64_t cols, float *spare);

/* Number of protected weights for a fraction: floor(fraction * count), computed without rounding surprises (0.05 of
 * 106,168,320 is 5,308,416). */
uint64_t cwe_fraction_count(double fraction, uint64_t count);

/* Mask bits of rows: bit c of row r is score >= threshold (all ties are taken, as the method has it). stride:
 * bytes a row, at least (cols + 7) / 8. Returns the number of bits set. [any-thread] */
uint64_t cwe_mask_fill(const float *score, uint64_t rows, uint64_t cols, float threshold, uint8_t *mask, uint64_t stride);
/* The same with a threshold of each row's own: its cwe_fraction_count(fraction, cols)-th largest score. -ENOMEM, or 0 with
 * *ret_set. [any-thread] */
int cwe_mask_fill_rows(const float *score, uint64_t rows, uint64_t cols, double fraction, uint8_t *mask, uint64_t stride,
	uint64_t *ret_set);
