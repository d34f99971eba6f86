/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A small random model in memory, of a shape that a test chooses, and samples for it. */
#pragma once

#include "engine/calibrate/corpus.h"
#include "engine/model/model.h"

#define SYNTHETIC_CONFIG                                                                                              \
	"{\"model_type\": \"llama\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 3,"      \
	" \"num_key_value_heads\": 1, \"head_dim\": 6, \"intermediate_size\": 20, \"vocab_size\": 37,"                \
	" \"max_position_embeddings\": 4096, \"attention_bias\": true, \"mlp_bias\": true}"

/* What families add to the plain layer: each of these is in one of them. */
#define SYNTHETIC_FAMILIES 8
extern const char *const synthetic_family[SYNTHETIC_FAMILIES];

struct synthetic {
	struct cwe_pool *pool;
	struct cwe_host host;
	struct cwe_registry *registry;
	struct cwe_device device;
	struct cwe_source source;
	struct cwe_model model;
	struct cwe_sample_set set;
	struct cwe_corpus corpus;
};

/* Opens plugins and the model of a config.json text. Fails the test when that does not work. */
void synthetic_open(struct synthetic *s, const char *config);
void synthetic_close(struct synthetic *s);
/* The numbers of a tensor, to be changed by a test. */
float *synthetic_tensor(struct synthetic *s, const char *name, uint64_t *ret_count);
/* A sample of sequences of these lengths (0 ends); weight: on all tokens but the first of a sequence. */
void synthetic_sample(struct synthetic *s, float weight, const size_t *length);
/* Lays the samples out as one set; again after more samples or other ids. */
void synthetic_corpus(struct synthetic *s);
/* Mean loss of the samples. */
double synthetic_loss(struct synthetic *s);
