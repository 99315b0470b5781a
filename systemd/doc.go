// Package systemd tells the service manager how the process is: ready,
// stopping, alive; and has it keep listeners open between two processes. Beside
// it lie the files that make riptide a service: riptide.service, and
// 50-riptide.conf for /etc/sysctl.d.
//
// Started by hand, without a service manager, all of it does nothing. It knows
// nothing of calls.
//
//	main --> Ready, Stopping --> $NOTIFY_SOCKET
//	listeners --> Sockets --> $NOTIFY_SOCKET, and back from $LISTEN_FDS after a restart
//	main --> Watchdog(alive) -- every half WatchdogSec --> $NOTIFY_SOCKET
package systemd
