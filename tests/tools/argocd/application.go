package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/openapi"
)

const (
	manager  = "argocd-controller"
	tracking = "argocd.argoproj.io/tracking-id"
)

// Resources as an Application of the name `runs` declares them.
type application struct {
	config  *rest.Config
	kubectl *kube.KubectlCmd
	schema  openapi.Resources
	parser  *managedfields.GvkParser
	dryRuns diff.KubeApplier
	close   func()
	objects []*unstructured.Unstructured
}

// What each of Argo CD's ways to compare would change of a resource; null where it sees no difference.
type comparison struct {
	Subject         string          `json:"subject"`
	Version         string          `json:"version,omitempty"`
	ThreeWay        json.RawMessage `json:"threeWay"`
	StructuredMerge json.RawMessage `json:"structuredMerge"`
	ServerSide      json.RawMessage `json:"serverSide"`
}

func newApplication(objects []*unstructured.Unstructured) (*application, error) {
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 100 // as Argo CD's controller has them
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	schema, parser, err := kubectl.LoadOpenAPISchema(config)
	if err != nil {
		return nil, err
	}
	dryRuns, closing, err := kube.ManageServerSideDiffDryRuns(config, schema, kubectl.Tracer, kubectl.Log, nil)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		track(object)
	}
	return &application{config, kubectl, schema, parser, dryRuns, closing, objects}, nil
}

// Mark a resource as the Application's, by the annotation that Argo CD adds to what it reads from Git.
func track(object *unstructured.Unstructured) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	kind := object.GroupVersionKind()
	annotations[tracking] = fmt.Sprintf("runs:%s/%s:%s/%s", kind.Group, kind.Kind, object.GetNamespace(), object.GetName())
	object.SetAnnotations(annotations)
}

// Apply all resources, whether they differ or not.
func (a *application) sync(ctx context.Context, serverSide bool) error {
	operations, closing, err := a.kubectl.ManageResources(a.config, a.schema)
	if err != nil {
		return err
	}
	defer closing()
	said := []string{}
	for _, object := range a.objects {
		words, err := operations.ApplyResource(ctx, object, cmdutil.DryRunNone, false, true, serverSide, manager)
		if err != nil {
			return err
		}
		said = append(said, words)
	}
	return tell(said)
}

func (a *application) diff(ctx context.Context) error {
	comparisons := []comparison{}
	for _, object := range a.objects {
		kind := object.GroupVersionKind()
		live, err := a.kubectl.GetResource(ctx, a.config, kind, object.GetName(), object.GetNamespace())
		if apierrors.IsNotFound(err) {
			live = nil
		} else if err != nil {
			return err
		}
		found, err := a.compare(object, live)
		if err != nil {
			return err
		}
		comparisons = append(comparisons, found)
	}
	return tell(comparisons)
}

// Leaves out a resource's status, as all of Argo CD's comparisons do by default. Ours need it in one: a dry run is later than the live
// state that it is compared with, and the operator may have written a status meanwhile.
type statusIgnored struct{}

func (statusIgnored) Normalize(object *unstructured.Unstructured) error {
	unstructured.RemoveNestedField(object.Object, "status")
	return nil
}

// Compare in the three ways: by default, for the sync option ServerSideApply=true, for the compare option ServerSideDiff=true.
func (a *application) compare(object, live *unstructured.Unstructured) (comparison, error) {
	found := comparison{Subject: object.GetKind() + "/" + object.GetNamespace() + "/" + object.GetName()}
	if live != nil {
		found.Version = live.GetResourceVersion()
	}
	runner := diff.NewK8sServerSideDryRunner(a.dryRuns)
	for _, way := range []struct {
		difference *json.RawMessage
		options    []diff.Option
	}{
		{&found.ThreeWay, nil},
		{&found.StructuredMerge, []diff.Option{diff.WithStructuredMergeDiff(true)}},
		{&found.ServerSide, []diff.Option{
			diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(runner), diff.WithNormalizer(statusIgnored{}),
		}},
	} {
		options := append(way.options, diff.WithGVKParser(a.parser), diff.WithManager(manager), diff.WithLogr(logr.Discard()))
		result, err := diff.Diff(object.DeepCopy(), live.DeepCopy(), options...)
		if err != nil {
			return found, err
		}
		if !result.Modified {
			continue
		}
		if *way.difference, err = jsonpatch.CreateMergePatch(result.NormalizedLive, result.PredictedLive); err != nil {
			return found, err
		}
	}
	return found, nil
}

// Compare now, and the first resource after each of its changes until the process is ended: a line each.
func (a *application) follow(ctx context.Context) error {
	object := a.objects[0]
	discover, err := discovery.NewDiscoveryClientForConfig(a.config)
	if err != nil {
		return err
	}
	known, err := kube.ServerResourceForGroupVersionKind(discover, object.GroupVersionKind(), "watch")
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(a.config)
	if err != nil {
		return err
	}
	resource := object.GroupVersionKind().GroupVersion().WithResource(known.Name)
	only := metav1.ListOptions{FieldSelector: "metadata.name=" + object.GetName()}
	watch, err := client.Resource(resource).Namespace(object.GetNamespace()).Watch(ctx, only)
	if err != nil {
		return err
	}
	if err := a.diff(ctx); err != nil {
		return err
	}
	for event := range watch.ResultChan() {
		live, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return errors.New("the watch ended with an error")
		}
		found, err := a.compare(object, live)
		if err != nil {
			return err
		}
		if err := tell(found); err != nil {
			return err
		}
	}
	return errors.New("the watch ended")
}
