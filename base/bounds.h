/*
 * Every maximum that is not in the configuration, in one place (bytes unless the name says
 * otherwise). A limit that an operator may want to move belongs in config.def instead.
 */
#ifndef GATEHOUSE_BOUNDS_H
#define GATEHOUSE_BOUNDS_H

/* links */
#define LIMIT_FRAME_PAYLOAD (64u * 1024u) /* payload bytes carried by one frame */
#define LIMIT_FRAME_FIELDS 16384u         /* encoded fields of one message */
#define LIMIT_FRAME (16u + LIMIT_FRAME_FIELDS + LIMIT_FRAME_PAYLOAD)
#define LIMIT_FRAME_FDS 8u /* descriptors with one message */
#define LIMIT_LINK_QUEUE \
	(4u * 1024u * 1024u) /* unsent bytes on one link before it is declared stuck */
#define LIMIT_LINK_PARTIAL \
	(256u * 1024u * 1024u) /* of messages in pieces that one link has not received whole */
#define LIMIT_MESSAGE_PAYLOAD (64u * 1024u * 1024u) /* of one message */
#define LIMIT_STREAM_WINDOW (256u * 1024u) /* credit a receiver grants a stream at first */

/* names */
#define LIMIT_SERVER_NAME 64u
#define LIMIT_VIEW_NAME 64u
#define LIMIT_TOOL_NAME 128u
#define LIMIT_SESSION_ID 128u

/* one list (tools, resources, …) of one server */
#define LIMIT_LIST_ITEMS 10000u
#define LIMIT_LIST_PAGES 1000u
#define LIMIT_LIST (16u * 1024u * 1024u)

/* JSON */
#define LIMIT_JSON_DEPTH 128u /* nesting of arrays and objects in one message */

#endif
