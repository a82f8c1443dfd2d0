// What Argo CD does with resources in Git, by its engine: `argocd sync|diff|follow FILE` on the cluster of KUBECONFIG, with FILE `-`
// for standard input. `argocd health` needs no cluster: it judges a list of live resources.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	log.SetFlags(0)
	script := flag.String("script", "", "health: the health script")
	kind := flag.String("kind", "", "health: GROUP/KIND that the script is for")
	serverSide := flag.Bool("server-side", false, "sync: with the option ServerSideApply=true")
	flag.Parse()
	var err error
	if flag.Arg(0) == "health" {
		err = judge(os.Stdin, *script, *kind)
	} else {
		err = act(context.Background(), flag.Arg(0), flag.Arg(1), *serverSide)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func act(ctx context.Context, command, path string, serverSide bool) error {
	objects, err := read(path)
	if err != nil {
		return err
	}
	argo, err := newApplication(objects)
	if err != nil {
		return err
	}
	defer argo.close()
	switch command {
	case "sync":
		return argo.sync(ctx, serverSide)
	case "diff":
		return argo.diff(ctx)
	case "follow":
		return argo.follow(ctx)
	}
	return fmt.Errorf("%q is no command: health, sync, diff, follow", command)
}

func read(path string) ([]*unstructured.Unstructured, error) {
	input := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		input = file
	}
	text, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	return kube.SplitYAML(text)
}

// Print a value as one line of JSON.
func tell(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
