/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* MMLU's subjects and their prompts, shared by the files of the plugin. */
#ifndef CWP_MMLU_H
#define CWP_MMLU_H

#include "plugins/evaluators/common/rows.h"

enum { LETTERS = 4 };

/* One subject: what stands in front of each of its questions. */
struct subject {
	char name[64];
	char *preamble;
};

/* The subject of a file's name: without folder, ending, and _test, _val or _dev. */
void mmlu_subject_of(const char *path, char ret[64]);
/* Reads and checks a row; the right answer's number. */
int mmlu_right(const struct rows *rows, uint64_t row, size_t *ret);
/* Appends the question of a row up to "Answer:". *text is freed with free(). */
int mmlu_question(const struct rows *rows, uint64_t row, char **text);
/* The preamble of a subject, with the first `shots` questions of FOLDER/SUBJECT_dev.csv and their answers. */
int mmlu_preamble(const struct cwp_host *host, const char *folder, const char *subject, size_t shots, char **ret);
/* A path of a job's options: as it is where it is absolute, else seen from the folder of the data file. NULL: no memory. */
char *mmlu_beside(const char *data, const char *path);
/* The files NAME_test.csv in the folder of `path`, sorted; the list is freed with mmlu_files_free. */
int mmlu_files(const struct cwp_host *host, const char *path, char ***ret, size_t *ret_count);
void mmlu_files_free(char **files, size_t count);

#endif
