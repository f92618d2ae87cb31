from math import*
from random import*
seed(42)
D=[d for l in open('input.txt')if(d:=l.strip())]
shuffle(D)
U=sorted({*''.join(D)})+['']
v=len(U)
class V(float):c=();g=b=0
M=[0]*(32*v+3328)
P=[V(gauss(0,.08))for _ in M]
W=M*1
O=[]
print(f"num docs: {len(D)}\nvocab size: {v}\nnum params: {len(P)}")
def N(d,*c):n=V(d);n.c=c;return n
def Z(a,b):
 d,*c=0,
 for y,x in zip(b,a):d+=x*y;c+=(x,y),(y,x)
 return N(d,*c)
A=lambda a,b:[N(x+y,(x,1),(y,1))for x,y in zip(a,b)]
L=lambda x,o,r=16:[Z(i,x)for i in[iter(P[o:])]*r]
def Q(x):z=Z(x,x);m=z/16+1e-5;s=N(m**-.5,(z,-m**-1.5/32)),;return[Z([i],s)for i in x]
def F(l,c):m=max(l);E=[N(d:=exp((i-m)*c),(i,d*c))for i in l];t=Z(E,[V(1)]*len(E));return[Z([e],[N(t**-1,(t,-t**-2))])for e in E]
def G(t):
 x=Q(A(P[16*t:][:16],P[16*(v+len(H)):]));h=[];H.append(L(Q(x),-3072,48))
 for j in 0,4,8,12:w=F([Z(H[-1][j:],k[j+16:j+20])for k in H],.5);h+=[Z(w,c)for c in[*zip(*H)][j+32:j+36]]
 x=A(L(h,-2304),x);return L(A(L([N(max(0,i),(i,i>0))for i in L(Q(x),-2048,64)],-1024),x),-3072-16*v,v)
def B(n):
 if n.b<1:n.b=1;[B(c)for c,_ in n.c];O.append(n)
for s in range(S:=1000):
 d=[*D[s%len(D)],''][:16];n=1/len(d);H=[];t=v-1;l=0
 for c in d:p=F(G(t),1)[t:=U.index(c)];l-=log(p);B(p);p.g=-1/p*n
 l*=n;r=1-s/S;s+=1
 while O:
  for c,w in(n:=O.pop()).c:c.g+=w*n.g
 for i,p in enumerate(P):M[i]=.85*M[i]+(1-.85)*p.g;W[i]=.99*W[i]+(1-.99)*p.g**2;P[i]=V(p-.01*r*(M[i]/(1-.85**s))/((W[i]/(1-.99**s))**.5+1e-8))
 print(f"step {s:4} / {S:4} | loss {l:.4f}")
print("\n--- inference (new, hallucinated names) ---")
for i in range(20):
 H=[];t=v-1;o=''
 while len(H)<16:
  t,=choices(range(v),F(G(t),2));o+=U[t]
  if t>v-2:break
 print(f"sample {i+1:2}: {o}")