/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Error codes shared by plugins and the host: 0 is success, -errno for what the system said, and these
 * for what it cannot say. Codes never change their meaning; new ones are appended. */
#ifndef CWP_ERROR_H
#define CWP_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum cwp_error_code {
	CWP_OK = 0,
	CWP_EFORMAT = -1000,  /* a file does not follow its format */
	CWP_ESHAPE = -1001,   /* shapes of tensors do not fit each other */
	CWP_ENUMBER = -1002,  /* NaN or infinity where a number is needed */
	CWP_EUNKNOWN = -1003, /* a name (key, architecture, component, plugin) that is not known */
	CWP_EVALUE = -1004,   /* a value of the wrong type or out of its range */
	CWP_EABI = -1005,     /* plugin of another ABI */
	CWP_EPLUGIN = -1006,  /* plugin that breaks the rules, or fails */
	CWP_EDIGEST = -1007,  /* bytes do not match their recorded digest */
	CWP_ELIMIT = -1008,   /* a stated limit (memory, scratch, size, time) would be exceeded */
	CWP_EMISSING = -1009, /* something needed is absent */
	CWP_ECANCELLED = -1010, /* the job was cancelled */
	CWP_EGATE = -1011,    /* a gate rejected the result */
	CWP_ESTATE = -1012,   /* not possible in the present state */
	CWP_EDENIED = -1013,  /* the caller may not do this */
	CWP_EPROTO = -1014    /* the peer broke the protocol */
};

#ifdef __cplusplus
}
#endif
#endif
