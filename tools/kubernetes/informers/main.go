// Informers is a client-go program as controllers are: it mirrors a cluster with shared informers and says what it
// sees, so that a test can hold that against the truth.
//
// It runs a SharedInformerFactory for pods and nodes (asking for protobuf first, as controllers do), a dynamic informer
// for one custom resource, and a leader election. Every event is a line of JSON on standard output; a line on standard
// input is answered with all that the caches hold; the end of the input ends the program. Whether the informers begin
// with a streamed list is client-go's own switch, KUBE_FEATURE_WatchListClient.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "where the API is")
	custom := flag.String("custom", "", "GROUP/VERSION/PLURAL of the custom resource")
	identity := flag.String("identity", "", "under which it stands for election")
	lease := flag.String("lease", "default/leader", "NAMESPACE/NAME of the lease that decides")
	flag.Parse()
	if err := run(*kubeconfig, *custom, *identity, *lease); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, custom, identity, lease string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	part := strings.Split(custom, "/")
	namespace, name, found := strings.Cut(lease, "/")
	if len(part) != 3 || !found {
		return fmt.Errorf("-custom takes GROUP/VERSION/PLURAL and -lease NAMESPACE/NAME")
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(client, 0)
	others := dynamicinformer.NewDynamicSharedInformerFactory(untyped, 0)
	resource := schema.GroupVersionResource{Group: part[0], Version: part[1], Resource: part[2]}
	watched := map[string]cache.SharedIndexInformer{
		"pods":  factory.Core().V1().Pods().Informer(),
		"nodes": factory.Core().V1().Nodes().Informer(),
		part[2]: others.ForResource(resource).Informer(),
	}
	for resource, informer := range watched {
		if err := follow(resource, informer); err != nil {
			return err
		}
	}
	factory.StartWithContext(ctx)
	others.Start(ctx.Done())

	var elected sync.WaitGroup
	elected.Add(1)
	go func() {
		defer elected.Done()
		elect(ctx, client, namespace, name, identity)
	}()
	for _, informer := range watched {
		cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	}
	say(line{"synced": true})

	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		say(line{"asked": asked.Text(), "holds": holdings(watched)})
	}
	stop()
	elected.Wait()
	factory.Shutdown()
	others.Shutdown()
	return asked.Err()
}

// follow says every event of an informer, and what ends its watches.
func follow(resource string, informer cache.SharedIndexInformer) error {
	tell := func(event string, object any) {
		about, ok := object.(metav1.Object)
		if gone, unknown := object.(cache.DeletedFinalStateUnknown); unknown {
			about, ok = gone.Obj.(metav1.Object)
			event = "missed"
		}
		if !ok {
			panic(fmt.Sprintf("%s: a cache held a %T", resource, object))
		}
		say(line{"resource": resource, "event": event, "key": key(about), "version": about.GetResourceVersion()})
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		say(line{"resource": resource, "error": err.Error()})
	}); err != nil {
		return err
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("added", object) },
		UpdateFunc: func(_, object any) { tell("updated", object) },
		DeleteFunc: func(object any) { tell("deleted", object) },
	})
	return err
}

// elect stands for election until the context ends, and gives the lease back then.
func elect(ctx context.Context, client kubernetes.Interface, namespace, name, identity string) {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		ReleaseOnCancel: true,
		LeaseDuration:   6 * time.Second,
		RenewDeadline:   4 * time.Second,
		RetryPeriod:     time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { say(line{"leading": true}) },
			OnStoppedLeading: func() { say(line{"leading": false}) },
			OnNewLeader:      func(leader string) { say(line{"leader": leader}) },
		},
	})
}

// holdings are the resource versions of all that the caches hold, by resource and key.
func holdings(watched map[string]cache.SharedIndexInformer) map[string]map[string]string {
	held := map[string]map[string]string{}
	for resource, informer := range watched {
		held[resource] = map[string]string{}
		for _, object := range informer.GetStore().List() {
			about := object.(metav1.Object)
			held[resource][key(about)] = about.GetResourceVersion()
		}
	}
	return held
}

func key(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}

type line map[string]any

var output sync.Mutex

func say(what line) {
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		panic(err)
	}
}
