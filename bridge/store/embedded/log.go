package embedded

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// natsLog passes the server's log on at debug: what matters in it comes back
// to us as an error of a call. It keeps the one message that has no other way
// out, why the server could not start.
type natsLog struct {
	log     *slog.Logger
	trouble *Trouble // nil: nobody is interested
	fatal   atomic.Pointer[string]
}

func (l *natsLog) debug(level, format string, v []any) {
	l.log.Debug("store server", "level", level, "text", fmt.Sprintf(format, v...))
}

func (l *natsLog) Noticef(format string, v ...any) { l.debug("notice", format, v) }
func (l *natsLog) Warnf(format string, v ...any)   { l.debug("warning", format, v) }
func (l *natsLog) Debugf(format string, v ...any)  { l.debug("debug", format, v) }
func (l *natsLog) Tracef(format string, v ...any)  { l.debug("trace", format, v) }

func (l *natsLog) Errorf(format string, v ...any) {
	l.debug("error", format, v)
	if l.trouble != nil {
		l.trouble.note(l.log, fmt.Sprintf(format, v...))
	}
}

func (l *natsLog) Fatalf(format string, v ...any) {
	l.debug("fatal", format, v)
	text := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &text)
}
