/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small text files that an option names: phrases, prompts of a judge, few-shot prompts. */
#ifndef CWP_EVALUATOR_SAFE_FILE_H
#define CWP_EVALUATOR_SAFE_FILE_H

#include <stddef.h>

#include <cwp/evaluator.h>

#define SAFE_FILE_LIMIT ((size_t)1 << 20) /* bytes */

/* Reads a UTF-8 text of at most SAFE_FILE_LIMIT bytes, CR LF made LF, without a byte order mark. name is absolute or relative
 * to the folder of the evaluation's data file `beside`; option is what messages call it. *ret ends with a NUL and is freed with
 * free(). What is wrong is explained through host->fail(): -errno of the file, CWP_EFORMAT (not UTF-8, a NUL), CWP_ELIMIT. */
int safe_file_read(const struct cwp_host *host, const char *option, const char *beside, const char *name, char **ret,
	size_t *ret_length);
/* Explains a failure: at most 400 bytes of "format". Returns code. */
int safe_fail(const struct cwp_host *host, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
