// Command pause holds a pod's namespaces open until it is told to end: the sandbox of every pod on the one-node cluster.
//
// Not covered: burying the orphans of a pod whose containers share one process namespace.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
