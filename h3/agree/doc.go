// Package agree translates between the bridge's words for the media of a call
// (MediaOffer, MediaPlan) and those of the wire (advertisements, directives). It
// is the only place that knows both.
//
//	MediaOffer --Advert--> advertisement --+
//	                                       +--Decide--> Directives --Plan--> MediaPlan
//	policy, client's advertisement -Server-+                      \-Streams-> media port
//
// Audio is source 1 and sink 1 of our end, video source 2 and sink 2. Everything
// here is pure.
package agree
