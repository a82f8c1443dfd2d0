// Command controlplane is a Kubernetes control plane in one program: etcd, kube-apiserver, kube-controller-manager and kubectl.
//
// The component is the name it was called by (a link to it), else its first argument, as in `controlplane kube-apiserver --help`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/pkg/controller/job"
)

var components = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": runControllers,
	"kubectl":                 func() int { return cli.Run(kubectl.NewDefaultKubectlCommand()) },
}

// runControllers lets JOB_POD_FAILURE_BACKOFF (as in "1s") shorten the pause before a failed pod is replaced: there is no flag for it.
func runControllers() int {
	if backoff, err := time.ParseDuration(os.Getenv("JOB_POD_FAILURE_BACKOFF")); err == nil {
		job.DefaultJobPodFailureBackOff = backoff
	}
	return cli.Run(controllers.NewControllerManagerCommand())
}

func main() {
	name := filepath.Base(os.Args[0])
	if components[name] == nil && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	run := components[name]
	if run == nil {
		fmt.Fprintf(os.Stderr, "%s: not one of etcd, kube-apiserver, kube-controller-manager, kubectl\n", name)
		os.Exit(2)
	}
	os.Exit(run())
}
